"""The types that every part meets in: Protocols and dataclasses only, and no torch at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray
    from torch import Tensor

Kind = Literal["mean", "rate", "set"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text to draw."""

    id: str
    """Names the folder of its images: ``[A-Za-z0-9._-]{1,64}``, unique in its set."""
    text: str
    """As published: never lower-cased, stripped of punctuation or shortened."""
    category: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further columns of the file that it came from."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A named list of prompts, and the digest that identifies it."""

    name: str
    prompts: Sequence[Prompt]
    sha256: str
    """Of the compact JSON lines ``[id,text,category]``, joined by a newline (UTF-8, not escaped)."""


class Item(NamedTuple):
    """One image to draw."""

    prompt: Prompt
    sample: int
    seed: int
    """In [0, 2**63): all noise of this image comes from a CPU generator with this seed."""


class Drawn(NamedTuple):
    """One image, and what must be recorded of it."""

    image: PIL.Image.Image
    """Mode RGB, 8 bits."""
    prompt_used: str | None = None
    """The text that the model was given, where it is not the prompt's own."""
    extras: Mapping[str, PIL.Image.Image] = {}
    """Stage outputs that are kept, as ``extras/<name>/<prompt id>/<sample>.png``."""
    facts: Mapping[str, str | int | float] = {}
    """Written to the journal: source codec, sha256, cost."""


class Refused(NamedTuple):
    """A safety filter withheld the image. Counted apart from failures, and never averaged away."""

    reason: str


class Failed(NamedTuple):
    """One image could not be drawn, and its batch-mates could: they are kept. The next command tries it again.

    A generator that raises instead is asked again for each item of the batch alone, which costs nothing where drawing is
    free, and is paid twice where it is not.
    """

    reason: str
    """One line for people."""
    ends_run: bool = False
    """True: no other image could be drawn either. The batch-mates are put on record, this image is not, and the run ends
    with the reason."""


@runtime_checkable
class Generator(Protocol):
    """What draws images."""

    pads: bool
    """True: every batch is filled by repeating its last item, and the surplus dropped, so that the batch has one size."""

    def fingerprint(self) -> Mapping[str, str]:
        """Returns what identifies the weights: the sha256 of each file, the versions of libraries that move pixels."""
        ...

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused | Failed]:
        """Returns one result per item, in order."""
        ...


class Output(NamedTuple):
    """One named number of a metric."""

    higher_is_better: bool | None
    """None: neither direction is better (a width)."""
    kind: Kind
    main: bool = False
    """The one that stands for the metric in a summary. Exactly one output of a metric is main."""
    rescales: str | None = None
    """The output that it is times a constant: its test is that one's, and counts once."""


class Scored(NamedTuple):
    """A batch's values."""

    values: Mapping[str, NDArray[np.float64]]
    """Output name → (N,). NaN: does not apply to this image, and is left out of n."""
    notes: Mapping[str, Sequence[str]] = {}
    """Name → N texts, for people: what was read, why it failed."""


@runtime_checkable
class Network(Protocol):
    """A feature network together with everything that comes before it."""

    key: str
    """Hash of what moves the features: sha256 of the weights, resize, layer, dtype."""

    def __call__(self, images: Tensor) -> Tensor:
        """Maps ``(N, 3, H, W) uint8`` images of one size to ``(N, D)`` features."""
        ...


@runtime_checkable
class ImageMetric(Protocol):
    """A metric with one value per image. Stateless.

    An attribute ``features_only``, where it is True, says that the features of its network are enough: then it is given images of
    no size, ``(N, 3, 0, 0)``, and where the features are known, none is read.

    A method ``for_prompts``, where there is one (of any kind of metric), is given the run's whole prompt set once, also where
    few of the prompts were drawn, and returns the metric that scores it: what compares an image with the other prompts' texts.

    An attribute ``verified``, where there is one (of any kind of metric), says whether what it scores with was tried on its
    published weights: for a metric that has more weights than its network.
    """

    outputs: Mapping[str, Output]
    network: Network | None

    def protocol(self) -> Mapping[str, str]:
        """Returns every choice that can move the number."""
        ...

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        """Scores ``(N, 3, H, W) uint8`` images, with their ``(N, D)`` features where the metric has a network."""
        ...


@runtime_checkable
class SetMetric(Protocol):
    """A metric with one value per set of images. Stateless; the reference is given to its factory.

    An attribute ``least``, where there is one, is the fewest images that have a value; it is 1 else. A method ``from_files``,
    where there is one, is given the paths of the images and returns further outputs: name → (value or None, why it has no
    interval, or no value).
    """

    outputs: Mapping[str, Output]
    network: Network

    def protocol(self) -> Mapping[str, str]:
        """Returns every choice that can move the number."""
        ...

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns each output's value for ``(N, D)`` features, which may be memory-mapped."""
        ...

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns each output's ``(G,)`` values, each without one of the groups that ``(N,)`` numbers name."""
        ...


@runtime_checkable
class PromptMetric(Protocol):
    """A metric with one value per prompt, of all its images together: how they differ from one another. Stateless."""

    outputs: Mapping[str, Output]
    network: Network | None

    def protocol(self) -> Mapping[str, str]:
        """Returns every choice that can move the number."""
        ...

    def score_prompt(
        self, images: Sequence[NDArray[np.uint8]], features: NDArray[np.float32] | None, prompt: Prompt
    ) -> Mapping[str, float]:
        """Returns each output's value for one prompt's samples, in their order. NaN: does not apply (a single sample).

        A metric with a network is given its features ``(S, D)`` and no images; one without is given ``(3, H, W)`` images,
        which need not be of one size.
        """
        ...


class Interval(NamedTuple):
    """How sure a number is."""

    low: float
    high: float
    method: str
    """The rule, in words: ``t over prompt means``."""
    over: str
    """What it generalises over: samples, prompts, raters, raters x prompts."""
    level: float = 0.95


class MetricProtocol(NamedTuple):
    """The identity of a number: two numbers are comparable where this is the same."""

    hash: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Score:
    """One number with its identity, its size and its interval."""

    run: str
    system: str
    metric: str
    """The metric's name or alias."""
    output: str | None
    """None: the metric's main output."""
    category: str | None
    """None: over all prompts."""
    value: float | None
    """None: the metric applies to no image here."""
    interval: Interval | None
    reason: str | None
    """Why there is no interval, or no value."""
    n: int
    """Images that have a value."""
    n_prompts: int
    higher_is_better: bool | None
    kind: Kind
    protocol: MetricProtocol
    schema_version: int = 1
