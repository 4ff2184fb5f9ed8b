"""What the answer of an HTTP API means: an image, a refusal, a price, or what went wrong."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from drawbench.errors import UserError
from drawbench.generators.http_calls import Answer, Trouble, retry_after
from drawbench.generators.http_secrets import Key, shown
from drawbench.images import Imported, Unreadable, decode_foreign
from drawbench.interfaces import Refused

_REFUSALS = {
    "content_policy_violation",
    "moderation_blocked",
    "content_filter",
    "contentfilter",
    "responsibleaipolicyviolation",
}
"""Error codes of OpenAI, and of Azure's service of the same models."""
_SPENT = {"insufficient_quota", "billing_hard_limit_reached"}
_MAX_FACTS = 20


class Told(NamedTuple):
    """What stands in an answer."""

    image: bytes | None
    """None: it lies elsewhere."""
    address: str | None = None
    prompt_used: str | None = None
    numbers: Mapping[str, float] = {}
    """``usage.…`` and ``cost``."""


def read_answer(answer: Answer, image_field: str | None, key: Key, url: str) -> Told | Refused:
    """Returns what an answer holds; its image is looked for in a field (dots lead inwards), None being OpenAI's.

    Raises:
        Trouble: an error status, or no image.
    """
    if (reason := _refusal(answer)) is not None:
        return Refused(reason)
    if not 200 <= answer.status < 300:
        raise _trouble(answer, key, url)
    if image_field is not None and answer.headers.get_content_maintype() == "image":
        return Told(answer.body)
    content = answer.json
    if not isinstance(content, dict):
        raise Trouble(f"the answer is neither an image nor JSON ({len(answer.body)} bytes)", again=True)
    first = _at(content, "data.0") if image_field is None else content
    holder = first if isinstance(first, dict) else {}
    found = holder.get("b64_json") or holder.get("url") if image_field is None else _at(content, image_field)
    if not isinstance(found, str) or not found:
        raise Trouble(f"the answer has no image in {image_field or 'data.0.b64_json or data.0.url'}", again=True)
    revised = holder.get("revised_prompt")
    prompt_used = revised if isinstance(revised, str) and revised else None
    if re.match(r"(?i)https?://", found):
        return Told(None, found, prompt_used, _numbers(content))
    return Told(_from_base64(found), None, prompt_used, _numbers(content))


def decode(data: bytes) -> Imported:
    """Decodes an answer's image, as an imported file is.

    Raises:
        Trouble: it is none; or it is animated or partly transparent, and would be so again.
    """
    try:
        return decode_foreign(data, "the answer's image")
    except UserError as error:
        raise Trouble(str(error), again=isinstance(error, Unreadable)) from None


def _refusal(answer: Answer) -> str | None:
    content = answer.json
    if 400 <= answer.status < 500 and _codes(answer) & _REFUSALS:
        return _message(answer) or "refused"
    if isinstance(content, dict) and answer.status < 500 and (reason := content.get("refused")):
        return reason if isinstance(reason, str) else "refused"
    if _at(content, "data.0.respect_moderation") is False:  # xAI answers 200, and no image.
        return "moderated (respect_moderation is false)"
    return None


def _trouble(answer: Answer, key: Key, url: str) -> Trouble:
    status, message = answer.status, key.line(_message(answer))
    told = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in (401, 403):
        return Trouble(f"{shown(url)} refuses access ({told}); check the key that http.key_env names", ends_run=True)
    if status == 402 or _codes(answer) & _SPENT:
        return Trouble(f"{shown(url)} wants to be paid ({told}); the same command goes on after that", ends_run=True)
    return Trouble(told, again=status in (408, 425, 429) or status >= 500, wait=retry_after(answer))


def _codes(answer: Answer) -> set[str]:
    paths = ("error.code", "error.type", "error.innererror.code", "error.inner_error.code", "code")
    return {code.lower() for path in paths if isinstance(code := _at(answer.json, path), str)}


def _message(answer: Answer) -> str:
    """Returns the server's own words, in whichever of the usual places they stand."""
    content = answer.json
    for path in ("error.message", "error", "message", "detail"):
        if isinstance(text := _at(content, path), str) and text:
            return text
    if content is not None:
        return json.dumps(content, ensure_ascii=False)
    return re.sub(r"<[^>]*>", " ", answer.body[:10_000].decode("utf-8", "replace"))


def _at(content: Any, path: str) -> Any:
    """Returns what stands at ``images.0.b64``, or None."""
    for step in path.split("."):
        if isinstance(content, list) and re.fullmatch(r"[0-9]{1,4}", step):
            content = content[int(step)] if int(step) < len(content) else None
        else:
            content = content.get(step) if isinstance(content, dict) else None
    return content


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of ``usage`` as ``usage.input_tokens``, and the cost that the answer names."""
    found: dict[str, float] = {}

    def gather(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, part in value.items():
                gather(f"{name}.{inner}", part)
        elif _is_number(value) and len(found) < _MAX_FACTS and re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name):
            found[name] = value

    gather("usage", content.get("usage"))
    cost = content.get("cost", found.get("usage.cost"))
    return {**found, "cost": cost} if _is_number(cost) and cost >= 0 else found


def _is_number(value: Any) -> TypeGuard[float]:
    """Neither true nor NaN, nor a whole number of a thousand digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise Trouble(f"the answer's image is not base64 ({len(text)} characters)", again=True) from None
