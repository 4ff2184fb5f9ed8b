"""An API's key, and addresses: what may be sent and must not be shown or put on record."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from drawbench.errors import UserError

_SECRET = 8
"""Characters. A shorter key is a placeholder (``none``, ``test``) that stands in ordinary sentences too."""
_SHOWN = 200


class Key:
    """A secret that is sent with a header and shown nowhere."""

    def __init__(self, secret: str | None, header: str) -> None:
        self._secret, self.header = secret, header

    def headers(self) -> dict[str, str]:
        """Returns the header that carries it: ``Authorization: Bearer …``, or the bare key under another name."""
        if self._secret is None:
            return {}
        return {self.header: f"Bearer {self._secret}" if self.header.lower() == "authorization" else self._secret}

    def stands_in(self, text: str) -> bool:
        """Says whether a text gives it away."""
        return self._secret is not None and len(self._secret) >= _SECRET and self._secret in text

    def redact(self, text: str) -> str:
        """Returns a text without it, and as UTF-8 can hold it (JSON may escape half a character)."""
        text = text.encode("utf-8", "replace").decode()
        return text.replace(self._secret, "[key]") if self._secret is not None and self.stands_in(text) else text

    def line(self, text: str) -> str:
        """Returns a text as one short line without it, or what servers quote of it (``sk-ab***yz``)."""
        line = " ".join(self._without_quote(word) for word in self.redact(text)[: 10 * _SHOWN].split())
        return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"

    def _without_quote(self, word: str) -> str:
        parts = re.split(r"\*\*+|\.\.\.+|…", word)
        known = [part for part in (part.strip("'\"`.,:;()") for part in parts) if len(part) >= 3]
        return "[key]" if len(parts) > 1 and any(self._secret and part in self._secret for part in known) else word


def read_key(variable: str, header: str) -> Key:
    """Returns the key that an environment variable holds, or one that sends nothing where no variable is named."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", header):
        raise UserError("http.key_header must be a header's name, such as Authorization or api-key")
    if not variable:
        return Key(None, header)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", variable):  # What was given may be the key itself.
        raise UserError("http.key_env must be the name of an environment variable, such as OPENAI_API_KEY, not the key")
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise UserError("the environment variable that http.key_env names is not set; export it, or leave key_env out")
    if not re.fullmatch(r"[!-~]+", secret):
        raise UserError(f"the environment variable {variable} holds blanks or letters that no HTTP header can carry")
    return Key(secret, header)


def check_url(option: str, url: str) -> None:
    """Refuses an address that is none, or that holds a secret: it goes on record."""
    try:
        parts = urlsplit(url)
        names = [pair.partition("=")[0] for pair in parts.query.split("&")]
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        valid = False
    if not valid or " " in url or not url.isascii():
        raise UserError(f"{option} must be an address such as https://HOST/v1")
    elsewhere = "put it into an environment variable and give the variable's name as http.key_env"
    if "@" in parts.netloc:
        raise UserError(f"{option} holds a user or password before the @, and addresses go on record; {elsewhere}")
    for name in names:
        if names_secret(name):
            raise UserError(f"{option} holds the query field {name!r}, and addresses go on record; {elsewhere}")


def names_secret(name: str) -> bool:
    """Says whether a field of this name holds what must not go on record."""
    pattern = r"(^|[-_.])(sig|pass|auth|code)$|(key|token|secret|signature|password|authorization|credentials?)$"
    return re.search(pattern, name, re.IGNORECASE) is not None


def shown(url: str) -> str:
    """Returns an address for people: without its query, where signatures stand."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
