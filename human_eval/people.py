"""Which captions speak of people: Imagen's COCO study has a subset without them (Saharia et al. 2022, table 2)."""

from __future__ import annotations

import re

WORDS = re.compile(
    r"\b(man|men|woman|women|person|people|child|adults?|boys?|girls?|guy|lady|ladies|someone|toddler|player|workers|"
    r"spectators)\b",
    re.IGNORECASE,
)
"""The paper's filter; of the player it says "(sport) player"."""


def speaks_of_people(caption: str) -> bool:
    """Says whether a caption has one of the words."""
    return WORDS.search(caption) is not None
