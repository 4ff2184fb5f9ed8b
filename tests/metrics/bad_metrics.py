"""One metric that is as it should be, and many that have each one fault, as peers and plug-ins have had them."""

import numpy as np
import torch

from drawbench.interfaces import Output, Scored
from drawbench.metrics.conformance_images import pictures
from drawbench.metrics.guard import check_images

SIDE = 64
TRUTH = {it.prompt.id: it.pixels.astype(np.float64) for it in pictures(SIDE)}


class Faithful:
    """How near an image is to the one that its prompt was drawn as: reads prompts, sees all."""

    outputs = {"near": Output(True, "mean", main=True)}
    network = None

    def protocol(self):
        return {"distance": "mean absolute, of 255"}

    def look(self, images):
        check_images("faithful", images)
        return images.numpy().astype(np.float64)

    def score(self, images, features, prompts):
        seen = self.look(images)
        rows = [1 - np.abs(one - TRUTH[p.id]).mean() / 255 for one, p in zip(seen, prompts, strict=True)]
        return Scored({"near": np.array(rows)})


class WrapsAround(Faithful):
    """ImagenHub's CLIPScore: uint8 times 255 is taken modulo 256."""

    def look(self, images):
        check_images("it", images)
        return (images.numpy() * np.uint8(255)).astype("uint8").astype(np.float64)


class Truncates(Faithful):
    """image-eval's FID: floats in [0, 1] become uint8, and every pixel under 255 a 0."""

    def look(self, images):
        check_images("it", images)
        return (images.float() / 255).to(torch.uint8).numpy().astype(np.float64)


class DividesAgain(Faithful):
    """image-eval's CLIPScore: what was divided by 255 is divided by 255."""

    def look(self, images):
        return images.numpy().astype(np.float64) / 255 * 255


class BlueFirst(Faithful):
    """OpenCV's order."""

    def look(self, images):
        return super().look(images)[:, ::-1]


class FirstThird(Faithful):
    """EvalGIM: the prompt of image i is prompts[i // 3]."""

    def score(self, images, features, prompts):
        return super().score(images, features, [prompts[i // 3] for i in range(len(prompts))])


class DropsBlack(Faithful):
    """HEIM: what a filter blackened is left out."""

    def score(self, images, features, prompts):
        values = super().score(images, features, prompts).values["near"]
        return Scored({"near": values[images.amax((1, 2, 3)).numpy() > 0]})


class Counts(Faithful):
    """Keeps state: the next image is worth more."""

    seen = 0

    def score(self, images, features, prompts):
        self.seen += len(images)
        return Scored({"near": super().score(images, features, prompts).values["near"] + 1e-3 * self.seen})


class Draws(Faithful):
    """Random without a seed."""

    def score(self, images, features, prompts):
        values = super().score(images, features, prompts).values["near"]
        return Scored({"near": values + 1e-6 * np.random.default_rng().random(len(values))})


class NormalisesByBatch(Faithful):
    """A value that depends on its neighbours."""

    def score(self, images, features, prompts):
        values = super().score(images, features, prompts).values["near"]
        return Scored({"near": values - images.double().mean().item() / 255})


class Paints(Faithful):
    """Alters what the next metric sees."""

    def score(self, images, features, prompts):
        images[:, :, 0, 0] = 0
        return super().score(images, features, prompts)


class TooLarge(Faithful):
    outputs = {"near": Output(True, "rate", main=True)}

    def score(self, images, features, prompts):
        return Scored({"near": 100 * super().score(images, features, prompts).values["near"]})


class Infinite(Faithful):
    def score(self, images, features, prompts):
        with np.errstate(divide="ignore"):
            return Scored({"near": -np.log(1 - super().score(images, features, prompts).values["near"])})


class NoMain(Faithful):
    outputs = {"near": Output(True, "mean")}


class AnotherName(Faithful):
    outputs = {"near": Output(True, "mean", main=True), "far": Output(False, "mean")}


class NamesItselfAnew(Faithful):
    def protocol(self):
        return {"made": str(id(self))}


class WrongWay(Faithful):
    """Less is called better."""

    outputs = {"near": Output(False, "mean", main=True)}


class Grey(Faithful):
    """Sees no colour: a mean over the channels, of a grey truth."""

    def score(self, images, features, prompts):
        seen = self.look(images).mean(1)
        rows = [1 - np.abs(one - TRUTH[p.id].mean(0)).mean() / 255 for one, p in zip(seen, prompts, strict=True)]
        return Scored({"near": np.array(rows)})


class DeclaredGrey(Grey):
    insensitive_to = ("channel order",)


class Sharp(Faithful):
    """The energy of edges, called quality: noise is its best image."""

    def score(self, images, features, prompts):
        seen = self.look(images)
        return Scored({"near": np.abs(np.diff(seen)).mean((1, 2, 3))})


class TakesEmpty(Faithful):
    def score(self, images, features, prompts):
        if not len(images):
            return Scored({"near": np.array([0.0])})
        return super().score(images, features, prompts)

    def look(self, images):
        return images.numpy().astype(np.float64) if not len(images) else super().look(images)


class Net:
    """Means and corners of the channels: few numbers that change with everything."""

    key = "f" * 64

    def __call__(self, images):
        check_images("net", images)
        wide = images.double()
        edges = wide.diff(dim=3).abs().mean((2, 3))
        return torch.cat([wide.mean((2, 3)), wide.std((2, 3)), edges], 1).float()


class FarNet(Net):
    """What the reference does not go through."""

    def __call__(self, images):
        return super().__call__(255 - images)


class Distance:
    """The distance of two sets' mean features: 0 for a set from itself."""

    outputs = {"far": Output(False, "set", main=True)}
    least = 1

    def __init__(self, folder, net=None):
        self.network = net or Net()
        self.reference = np.concatenate([Net()(image).numpy() for image in self.read(folder)])

    @staticmethod
    def read(folder):
        import PIL.Image

        for file in sorted(folder.glob("*.png")):
            yield torch.from_numpy(np.asarray(PIL.Image.open(file)).transpose(2, 0, 1)[np.newaxis].copy())

    def protocol(self):
        return {"weights sha256": self.network.key}

    def compute(self, features):
        rows, own = (np.asarray(part, np.float64) for part in (features, self.reference))
        return {"far": float(np.abs(rows[:, None] - own[None]).mean() * 2 - _within(rows) - _within(own))}

    def leave_out(self, features, groups):
        return {"far": np.array([self.compute(features[groups != g])["far"] for g in range(groups.max() + 1)])}


def _within(rows):
    return np.abs(rows[:, None] - rows[None]).mean()


class OtherPath(Distance):
    """Images and reference go through different code."""

    def __init__(self, folder):
        super().__init__(folder, FarNet())


class PreviousPath(Distance):
    """dgm-eval: path[i] inside enumerate(path[1:]): the reference is scored instead of the images."""

    def compute(self, features):
        return {"far": super().compute(self.reference)["far"] + 1.0}


class KeepsTheGroup(Distance):
    def leave_out(self, features, groups):
        return {"far": np.array([self.compute(features[groups == g])["far"] for g in range(groups.max() + 1)])}


class NeedsTwo(Distance):
    """Has no value for one image, and does not say so."""

    def compute(self, features):
        return {"far": super().compute(features)["far"] if len(features) > 1 else float("nan")}


class Nameless(Distance):
    def protocol(self):
        return {"version": "1"}


class Looks(Faithful):
    """How bright an image is, by its features."""

    network = Net()
    features_only = True
    insensitive_to = ("inversion", "noise", "blur")
    outputs = {"bright": Output(None, "mean", main=True)}

    def protocol(self):
        return {"weights sha256": self.network.key}

    def score(self, images, features, prompts):
        return Scored({"bright": features[:, 0].double().numpy()})


class PeeksAtPixels(Looks):
    """Says that features are enough, and reads the pixels, of which there are none then."""

    def score(self, images, features, prompts):
        return Scored({"bright": images.double().mean((1, 2, 3)).numpy()})


class AsksForTheSize(Looks):
    """The same, and fails aloud."""

    def score(self, images, features, prompts):
        check_images("it", images)
        return super().score(images, features, prompts)


class FewShort(Distance):
    """Without a group fewer stay than it needs."""

    least = 30

    def compute(self, features):
        if len(features) < self.least:
            raise ValueError("too few")
        return super().compute(features)


class NeedsMany(Distance):
    """More than are shown; right, as far as can be seen."""

    least = 5014

    def compute(self, features):
        raise AssertionError(f"{len(features)} images are fewer than it needs")


class AlsoOfFiles(Distance):
    """One output is of the image files, which only a run has."""

    outputs = {**Distance.outputs, "of_files": Output(False, "set")}

    def from_files(self, files):
        return {"of_files": (1.0, "no interval")}


class LacksAnOutput(Distance):
    """Declares what it never gives."""

    outputs = {**Distance.outputs, "near": Output(True, "set")}


class DrawsByPlace(Distance):
    """The mean over random subsets, drawn by place."""

    sensitive_to = ("order",)

    def compute(self, features):
        draw = np.random.default_rng(0).permutation(len(features))[:20]
        return {"far": super().compute(features[draw])["far"]}


class HidesThatItDraws(DrawsByPlace):
    sensitive_to = ()


class Apart:
    """How far a prompt's images lie from one another, pixel by pixel; a single one has no value."""

    outputs = {"apart": Output(True, "mean", main=True)}
    network = None
    insensitive_to = ("channel order",)

    def protocol(self):
        return {"distance": "mean absolute, of 255"}

    def score_prompt(self, images, features, prompt):
        if any(image.dtype != np.uint8 for image in images):
            raise TypeError("it takes uint8")
        wide = np.array([image.astype(np.float64) for image in images])
        return {"apart": float(np.abs(wide[:, None] - wide[None]).mean() / 255) if len(wide) > 1 else float("nan")}


class Constant(Apart):
    def score_prompt(self, images, features, prompt):
        return {"apart": 0.5 if len(images) > 1 else float("nan")}


class OnlyTheFirst(Apart):
    def score_prompt(self, images, features, prompt):
        return {"apart": float(images[0].mean() / 255) if len(images) else float("nan")}


class ReadsThePrompt(Apart):
    def score_prompt(self, images, features, prompt):
        return {"apart": len(prompt.text) / 100 if len(images) > 1 else float("nan")}


class LaterIsMore(Apart):
    """The samples weighed by their place."""

    def score_prompt(self, images, features, prompt):
        found = super().score_prompt(images, features, prompt)
        return {"apart": found["apart"] + (images[-1].mean() / 255 if len(images) else 0.0)}


class SaysLaterIsMore(LaterIsMore):
    sensitive_to = ("order",)


class ColourBlindApart(Apart):
    """Says nothing of that it does not look at the colours."""

    insensitive_to = ()


class CountsSamples(Apart):
    """How many different images there are: whatever is on them."""

    def score_prompt(self, images, features, prompt):
        return {"apart": len({image.tobytes() for image in images}) / 2 if len(images) > 1 else float("nan")}


class ZeroOfNone(Apart):
    def score_prompt(self, images, features, prompt):
        return super().score_prompt(images, features, prompt) if len(images) else {"apart": 0.0}


class FailsOnOne(Apart):
    def score_prompt(self, images, features, prompt):
        _first, _second = images[:2]
        return super().score_prompt(images, features, prompt)


class PaintsSamples(Apart):
    def score_prompt(self, images, features, prompt):
        for image in images:
            image[:, 0, 0] = 0
        return super().score_prompt(images, features, prompt)


class OtherNameOfPrompt(Apart):
    def score_prompt(self, images, features, prompt):
        return {"distance": super().score_prompt(images, features, prompt)["apart"]}
