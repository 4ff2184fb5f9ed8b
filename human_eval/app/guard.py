"""What stands in front of everything: who may speak to the app at all. Pure ASGI, so that it sees websockets too."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; script-src 'self' blob: 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; form-action 'self'"
)
"""Streamlit has one script inline, and loads components from ``blob:``."""
HEADERS = (
    # With no-referrer a form of our own would be posted with "Origin: null".
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", POLICY.encode()),
)
SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses hosts that the app is not known by (DNS rebinding), and posts and websockets that come from other pages."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "").lower()
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            await _refuse(scope, send, 400, "This request names no host that there could be.")
            return
        if name not in self.hosts or (
            (scope["type"] == "websocket" or scope["method"] not in SAFE) and not _is_own(headers.get(b"origin"), host)
        ):
            await _refuse(scope, send, 403, "This request does not come from a page of this study.")
            return
        await self.app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)


def _is_own(origin: str | None, host: str) -> bool:
    """Says whether a request comes from a page of this very host; one that does not say so does not."""
    return origin is not None and origin.lower() in (f"http://{host}", f"https://{host}")


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": why.encode()})


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(pair for pair in HEADERS if pair[0] not in there)]
        await send(message)

    return wrapped


class Attempts:
    """How often somebody tried a secret that is none: after ``most`` within ``seconds`` they must wait."""

    def __init__(self, most: int = 20, seconds: float = 60.0) -> None:
        self.most, self.seconds = most, seconds
        self._failed: dict[str, deque[float]] = {}

    def is_exhausted(self, who: str) -> bool:
        """Says whether this address must wait."""
        failed, now = self._failed.get(who, deque()), time.monotonic()
        while failed and now - failed[0] > self.seconds:
            failed.popleft()
        if not failed:
            self._failed.pop(who, None)
        return len(failed) >= self.most

    def failed(self, who: str) -> bool:
        """Notes that a secret was wrong; returns whether that was one too many."""
        if self.is_exhausted(who):
            return True
        self._failed.setdefault(who, deque()).append(time.monotonic())
        return False
