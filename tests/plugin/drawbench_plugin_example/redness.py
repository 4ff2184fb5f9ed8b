"""How red an image is: one value per image."""

from drawbench.interfaces import Output, Scored


def redness(*, device: str, above: float = 0.5):
    return Redness(above)


class Redness:
    outputs = {"red": Output(True, "mean", main=True), "is_red": Output(True, "rate")}
    network = None

    def __init__(self, above):
        self.above = above

    def protocol(self):
        return {"above": str(self.above)}

    def score(self, images, features, prompts):
        red = images[:, 0].double().mean((1, 2)).numpy() / 255
        return Scored(
            {"red": red, "is_red": (red > self.above) * 1.0}, {"hue": ["red" if r > 0.5 else "" for r in red]}
        )
