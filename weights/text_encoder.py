"""Makes the shapes world's text encoder: a small T5 on bytes, pre-trained by span corruption on text alone.

Raffel et al. 2020, section 3.1.4, on bytes as in Xue et al. 2022, with two changes. A gap is one to three whole words,
for the lines are short and half a word gives the other half away; and linear layers name words (`Pretraining`). Only the
encoder is kept.

A run is a function of its seed: the lines, their gaps and the learning rate follow from the step's number. One that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from model_card import Card, size_of
from safetensors.torch import save_file
from text_probes import figures
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from training import options, train

from drawbench.files import atomic
from drawbench.shapes.data import corpus_line
from drawbench.torchvision_ops import declare_missing_ops

OUT = Path(__file__).parents[1] / "drawbench" / "shapes" / "weights" / "text"
PAD, END, BYTE, GAP, NO_WORD = 0, 1, 3, 259, -100
"""Numbers of the byte tokenizer: padding, end, the first byte, the first mark of a gap; and what has no word."""
AROUND = (-3, -2, -1, 1, 2, 3)
"""Which of the words about a byte's own are named at it, articles passed over."""
ARTICLES = frozenset({"a", "an", "the"})
HELD_OUT = 10**9
"""Lines from here on are not trained on."""

CONFIG: dict[str, Any] = {
    "vocab_size": 384,
    "d_model": 128,
    "d_kv": 16,
    "num_heads": 8,
    "d_ff": 512,
    "num_layers": 4,
    "num_decoder_layers": 1,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.0,
    "tie_word_embeddings": False,
    "decoder_start_token_id": PAD,
}
EMBEDDING_STD = 0.1
"""T5's own 1.0 drowns what attention adds, and the loss stands still."""


class Batch(NamedTuple):
    """Lines with gaps, and what was in the gaps; padded, ``(B, L)`` int64."""

    inputs: Tensor
    mask: Tensor
    targets: Tensor
    words: Tensor
    """The number of the word that each byte of ``inputs`` belongs to, and of the first word in each gap."""
    around: Tensor
    """The numbers of the words about that word, ``(B, L, 6)``, those in gaps too."""


class Corrupted(NamedTuple):
    """One line's tokens."""

    inputs: list[int]
    targets: list[int]
    words: list[int]
    around: list[list[int]]


def corrupted(line: str, vocabulary: Mapping[str, int], rng: Random, share: float = 0.25) -> Corrupted:
    """Returns a line of which about ``share`` of the words are replaced by marks, and the marks with their words."""
    said = line.split(" ")
    hidden: set[int] = set()
    while not hidden or len(hidden) < share * len(said) - rng.random():
        first = rng.randrange(len(said))
        hidden |= set(range(first, min(first + rng.choice((1, 1, 2, 3)), len(said))))
    row, gaps, space = Corrupted([], [], [], []), 0, BYTE + ord(" ")
    numbers = [vocabulary.get(_plain(word), NO_WORD) for word in said]
    around = _around(said, numbers)

    def add(tokens: Sequence[int], number: int, about: Sequence[int]) -> None:
        row.inputs.extend(tokens)
        row.words.extend([number] * len(tokens))
        row.around.extend([list(about)] * len(tokens))

    nothing = [NO_WORD] * len(AROUND)
    for at, word in enumerate(said):
        letters = [BYTE + byte for byte in word.encode()]
        if at in hidden and at - 1 in hidden:
            row.targets.extend([space, *letters])
            continue
        if at:
            add([space], NO_WORD, nothing)
        if at in hidden:
            row.targets.extend([GAP + gaps, *letters])
            letters, gaps = [GAP + gaps], gaps + 1
        add(letters, numbers[at], around[at])
    add([END], NO_WORD, nothing)
    return row._replace(targets=[*row.targets, END])


def _around(said: Sequence[str], numbers: Sequence[int]) -> list[list[int]]:
    """Returns for each word the numbers of the words about it."""
    kept = [at for at, word in enumerate(said) if _plain(word) not in ARTICLES]
    found = []
    for at in range(len(said)):
        before = [numbers[other] for other in kept if other < at][-3:]
        after = [numbers[other] for other in kept if other > at][:3]
        found.append([NO_WORD] * (3 - len(before)) + before + after + [NO_WORD] * (3 - len(after)))
    return found


def common_words(lines: int = 30_000, least: int = 20) -> dict[str, int]:
    """Returns the words that the first lines have ``least`` times and more, numbered."""
    counts = Counter(_plain(word) for number in range(lines) for word in corpus_line(number).split(" "))
    return {word: number for number, word in enumerate(sorted(word for word in counts if counts[word] >= least))}


def _plain(word: str) -> str:
    return word.strip('.,:;?!"').lower()


def batches(
    vocabulary: Mapping[str, int], seed: int, size: int, first_step: int = 0, together: int = 16
) -> Iterator[Batch]:
    """Yields the batches from a step on; lines of about one length go together."""
    step = first_step
    while True:
        block, within = divmod(step, together)
        rng = Random(f"{seed}/{block}")
        start = block * size * together
        rows = sorted(
            (corrupted(corpus_line(start + number), vocabulary, rng) for number in range(size * together)),
            key=lambda row: (len(row.inputs), len(row.targets)),
        )
        order = list(range(together))
        rng.shuffle(order)
        for at in order[within:]:
            yield _batch(rows[at * size : (at + 1) * size])
            step += 1


def _batch(rows: Sequence[Corrupted]) -> Batch:
    def padded(side: Sequence[list[Any]], padding: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in side], True, padding)

    inputs = padded([row.inputs for row in rows], PAD)
    around = padded([row.around for row in rows], NO_WORD)
    targets, words = padded([row.targets for row in rows], -100), padded([row.words for row in rows], NO_WORD)
    return Batch(inputs, (inputs != PAD).long(), targets, words, around)


class Pretraining(nn.Module):
    """A T5, and linear layers on its encoder: they name at each byte its word and those about it, at each gap what it hides.

    In the lines of a small world most words are free choices, which no gap tells of: span corruption alone, in so few
    steps, leaves an encoder that has forgotten the colours. And at "circle" there must stand that it is red.
    """

    def __init__(self, t5: Any, words: int) -> None:
        super().__init__()
        self.t5 = t5
        self.names = nn.Linear(CONFIG["d_model"], words)
        self.around = nn.Linear(CONFIG["d_model"], words * len(AROUND))

    def forward(self, batch: Batch) -> Losses:
        out = self.t5(input_ids=batch.inputs, attention_mask=batch.mask, labels=batch.targets)
        states = out.encoder_last_hidden_state
        named, gap = batch.words != NO_WORD, batch.inputs >= GAP
        own, hidden = (
            cross_entropy(self.names(states[here]).float(), batch.words[here]) for here in (named & ~gap, named & gap)
        )
        near = (batch.around != NO_WORD).any(-1)
        about = self.around(states[near]).float().unflatten(-1, (len(AROUND), -1))
        around = cross_entropy(about.flatten(0, 1), batch.around[near].flatten(), ignore_index=NO_WORD)
        return Losses(out.loss, own, hidden, around)


class Losses(NamedTuple):
    """In nats: per byte of the gaps, per byte's own word, per first word of a gap, per word about."""

    spans: Tensor
    own: Tensor
    hidden: Tensor
    around: Tensor


def new_model(seed: int) -> Any:
    """Returns an untrained T5 with encoder and decoder."""
    declare_missing_ops()
    import transformers

    torch.manual_seed(seed)
    model: Any = transformers.T5ForConditionalGeneration(transformers.T5Config(**CONFIG))
    model.set_attn_implementation("eager")  # The fused one is slow backwards in bf16 on a CPU.
    with torch.no_grad():
        model.shared.weight.mul_(EMBEDDING_STD)
        model.lm_head.weight.mul_(EMBEDDING_STD)
    for module in model.modules():
        if hasattr(module, "act"):
            module.act = torch.nn.GELU(approximate="tanh")  # What the config asks for, in one step instead of eight.
        if getattr(module, "has_relative_attention_bias", False):
            module.relative_attention_bias.weight.data += _nearness(module)
    return model


def _nearness(attention: Any) -> Tensor:
    """Returns what is added to the relative positions, ``(buckets, heads)``, so that bytes find their words from the start.

    Half of the heads look at one neighbour each, two at the surroundings, two anywhere. From T5's own start, without
    any nearness, the letters of a word come together only after a thousand steps.
    """
    places = torch.arange(-128, 129) if not attention.is_decoder else torch.arange(-128, 1)
    buckets = attention._relative_position_bucket(places, not attention.is_decoder, 32, 128)
    mean = torch.stack([places[buckets == bucket].float().mean() for bucket in range(32)]).nan_to_num(-128)
    neighbours = (-1, -2, -3, -4) if attention.is_decoder else (-1, 1, -2, -3)
    heads = [5.0 * (mean == place) for place in neighbours] + [-slope * mean.abs() for slope in (0.7, 0.2, 0.0, 0.0)]
    return torch.stack(heads, -1)


def main() -> None:
    """Trains, or goes on, and writes weights and card."""
    parser = options("text", OUT, steps=6000, batch_size=32, learning_rate=2e-3)
    parser.add_argument("--layers", type=int, default=CONFIG["num_layers"])
    parser.add_argument("--width", type=int, default=CONFIG["d_model"], help="channels, a multiple of 8")
    arguments = parser.parse_args()
    if arguments.layers < 1 or arguments.width < 8 or arguments.width % CONFIG["num_heads"]:
        parser.error(f"--layers {arguments.layers} --width {arguments.width}: give 1 or more, and a multiple of 8")
    ships = (arguments.layers, arguments.width) == (CONFIG["num_layers"], CONFIG["d_model"])
    if not ships and arguments.out == OUT:
        parser.error("--layers and --width of another size than the shipped encoder's need an --out of their own")
    CONFIG.update(num_layers=arguments.layers, d_model=arguments.width)
    CONFIG.update(d_kv=arguments.width // CONFIG["num_heads"], d_ff=4 * arguments.width)
    vocabulary = common_words()
    model = Pretraining(new_model(arguments.seed), len(vocabulary))
    seconds = train(
        model,
        lambda step: batches(vocabulary, arguments.seed, arguments.batch_size, step),
        lambda batch: loss_of(model, batch),
        arguments,
        weight_decay=0.01,
    )
    _export(model, vocabulary, arguments, seconds, ships)


def loss_of(model: Pretraining, batch: Batch) -> Tensor:
    """Returns what is minimised."""
    with torch.autocast("cpu", torch.bfloat16):
        losses: Losses = model(batch)
    return losses.spans + losses.own + losses.hidden + losses.around


def _export(
    model: Pretraining, vocabulary: Mapping[str, int], arguments: argparse.Namespace, seconds: float, ships: bool
) -> None:
    """Writes the encoder in fp16, its config, and the card with the figures of what was written."""
    model.eval()
    with torch.no_grad():
        unseen = list(islice(batches(vocabulary, arguments.seed, 32, HELD_OUT // 32), 32))
        spans, own, hidden, around = torch.tensor([model(batch) for batch in unseen]).mean(0).tolist()
    tensors = save(model.t5, arguments.out)
    weights = arguments.out / "model.safetensors"
    with TemporaryDirectory() as folder:
        save(new_model(arguments.seed + 1), Path(folder))
        probes = figures(arguments.out, Path(folder))
    losses = (
        "Nats on lines from further on in the stream (most captions are short, and many have come before): "
        f"{spans:.3f} per byte of the gaps, {hidden:.3f} per first word of a gap, "
        f"{own:.3f} per byte's own word, {around:.3f} per word about it."
    )
    Card(
        title="Text encoder of the shapes world",
        what=f"The encoder of a T5 (gated GELU, relative positions, {CONFIG['num_layers']} layers, "
        f"{CONFIG['d_model']} channels) that reads bytes and needs no vocabulary file: {size_of(tensors)}. "
        "It was trained on text alone and has never seen a picture.",
        data="`drawbench.shapes.data.corpus_line`: captions of the shapes world's grammar and sentences that explain "
        "its rare words, descriptions, misspellings, places and numbers; an eighth of all captions is held out. "
        "Every sentence is the project's own.",
        recipe="Span corruption (T5) with gaps of whole words, a quarter of each line; a decoder of "
        f"{CONFIG['num_decoder_layers']} layer, and linear layers on the encoder that name each byte's word, the three "
        f"words before and after it, and the first word of each gap ({len(vocabulary)} words), all thrown away after "
        f"training. AdamW, rate {arguments.learning_rate:g}, falling along a line over the last fifth, "
        f"{arguments.steps:,} steps of {arguments.batch_size} lines, bf16 autocast; embeddings begin with a standard "
        f"deviation of {EMBEDDING_STD}. Kept in fp16.",
        seed=arguments.seed,
        command="python weights/text_encoder.py"
        + ("" if ships else f" --layers {arguments.layers} --width {arguments.width}"),
        seconds=seconds,
        figures=[losses, "", *probes],
        weights=[weights],
    ).write(arguments.out / "CARD.md")
    print(f"{arguments.out}: {size_of(tensors)}", flush=True)


def save(model: Any, folder: Path) -> dict[str, Tensor]:
    """Writes the encoder as transformers does, and returns its tensors."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    config = transformers.T5Config(**CONFIG, is_encoder_decoder=False, use_cache=False)
    config.architectures = ["T5EncoderModel"]
    config.save_pretrained(folder)
    names = transformers.T5EncoderModel(config).state_dict().keys() - {"encoder.embed_tokens.weight"}  # shared.weight.
    tensors = {name: model.state_dict()[name].half().contiguous() for name in sorted(names)}
    with atomic(folder / "model.safetensors") as beside:
        save_file(tensors, beside, {"format": "pt"})
    return tensors


if __name__ == "__main__":
    main()
