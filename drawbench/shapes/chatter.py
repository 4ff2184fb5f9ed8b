"""Long, chatty requests around a scene: openings, styles and endings that promise nothing further."""

from __future__ import annotations

from random import Random

_OPENINGS = (
    "so my little brother asked me for",
    "ok hear me out, just",
    "I have been trying all day to get",
    "for our club's new poster we need",
    "can anybody please draw",
    "my grandmother dreamt last night of",
    "I lost a bet, so here goes:",
    "nobody believes me that it can do",
    "the cover of a jazz record from the sixties that shows only",
    "a museum hangs it on its best wall:",
    "an old computer game, first level, and all you see is",
    "today's challenge for everyone here:",
)
_STYLES = (
    "as a clean vector poster",
    "in the style of a woodcut",
    "like paper cut out with scissors",
    "very tidy, flat colours, no shading",
    "minimalist, sharp edges, trending in my living room",
    "like a road sign from the future",
    "painted as if for a children's book",
    "as seen by a sleepy robot",
)
_ENDINGS = (
    "nothing else please",
    "that is honestly all I want",
    "thanks in advance",
    "no idea why it makes me so happy",
    "extra points if it looks calm",
    "I will print it and hang it in the kitchen",
)


def chatty(said: str, rng: Random) -> str:
    """Returns a request in one or two sentences for what is said."""
    opening, style, ending = rng.choice(_OPENINGS), rng.choice(_STYLES), rng.choice(_ENDINGS)
    form = rng.choice(("{o} {s}, {y}, {e}.", "{o} {s}, {y}. {e}.", "{o} {s}. {y}, {e}."))
    text = form.format(o=opening, s=said, y=style, e=ending)
    sentences = text.split(". ")
    return ". ".join(part[0].upper() + part[1:] for part in sentences)
