"""Three prompts."""

from drawbench.interfaces import Prompt
from drawbench.prompts import make_prompt_set


def trio():
    texts = {"stripes": "Red stripes.", "spots": "Blue spots.", "rings": "Green rings."}
    return make_prompt_set("trio", [Prompt(name, text, "patterns") for name, text in texts.items()])
