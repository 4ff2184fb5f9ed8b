"""HTTP calls as a paid service wants them: paced, tried again with patience, and silent about the key."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cached_property
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from drawbench import __version__
from drawbench.generators.http_secrets import Key, shown

T = TypeVar("T")

_AGENT = {"User-Agent": f"drawbench/{__version__}"}
_MAX_BYTES = 256 * 2**20
_MAX_HOPS = 5
_LONGEST_BACK_OFF = 60.0
_LONGEST_PAUSE = 600.0
"""Seconds. A server that asks for a longer pause than this is not waited for."""


class Trouble(Exception):
    """A call that gave no image."""

    def __init__(self, reason: str, *, again: bool = False, ends_run: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        """It may go well another time."""
        self.ends_run = ends_run
        """If it does not, neither will any other call."""
        self.wait = wait
        """Seconds that the server asks to be left alone."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    status: int
    headers: Message
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The body's JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Clock:
    """Time. A wait ends early when `wake` is called."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        self._woken.wait(seconds)

    def wake(self) -> None:
        self._woken.set()


class Caller:
    """Sends requests from several threads: at most so many a minute, all together; and tries again what may go well."""

    def __init__(self, key: Key, *, timeout: float, retries: int, back_off: float, per_minute: float | None) -> None:
        self.key, self.timeout, self.retries, self.back_off = key, timeout, retries, back_off
        self.interval = 60 / per_minute if per_minute else 0.0
        self.clock = Clock()
        self.requests = 0
        """Sent to the API, answered or not."""
        self._next = float("-inf")
        self._ended: str | None = None
        self._answered = False
        self._lock = threading.Lock()
        self._opener = build_opener(_AsItComes)

    def post(self, url: str, body: dict[str, Any]) -> Answer:
        """Sends JSON with the key, in its turn. A redirect is followed where the same host takes the same body (307, 308)."""
        data = json.dumps(body, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, image/*",
            **_AGENT,
            **self.key.headers(),
        }
        here = url
        for _ in range(_MAX_HOPS):
            self._take_turn()
            answer = self._exchange(Request(here, data, headers, method="POST"))  # noqa: S310  checked by the factory
            if not (target := _target(here, answer)):
                break
            if answer.status not in (307, 308) or _origin(target) != _origin(url):
                raise Trouble(
                    f"{shown(url)} redirects to {shown(target)}; give the address that answers itself", ends_run=True
                )
            here = target
        else:
            raise Trouble(f"{shown(url)} redirects in a circle", ends_run=True)
        if 0 < (pause := retry_after(answer)) <= _LONGEST_PAUSE:
            with self._lock:  # What one request was told holds for all.
                self._next = max(self._next, self.clock.now() + pause)
        return answer

    def get(self, url: str, *, key_for: str) -> Answer:
        """Fetches an address that the API gave; the key goes along only to where it goes anyway."""
        here = url
        for _ in range(_MAX_HOPS):
            if urlsplit(here).scheme not in ("http", "https"):
                raise Trouble(f"the image's address is no http address ({here.partition(':')[0][:20]}:)")
            headers = {
                "Accept": "image/*",
                **_AGENT,
                **(self.key.headers() if _origin(here) == _origin(key_for) else {}),
            }
            answer = self._exchange(Request(here, headers=headers))  # noqa: S310  checked above
            if not (target := _target(here, answer)):
                return answer
            here = target
        raise Trouble(f"{shown(url)} redirects in a circle")

    def persist(self, seed: int, call: Callable[[int], T]) -> T:
        """Returns what a call gives, trying again with growing pauses; the call is told which try it is, from 1.

        Raises:
            Trouble: of the last try.
        """
        attempt = 1
        while True:
            try:
                return call(attempt)
            except Trouble as trouble:
                if trouble.wait > _LONGEST_PAUSE:
                    reason = (
                        f"{trouble.reason}; the server asks for a pause of {trouble.wait:.0f} s: try again after it"
                    )
                    raise Trouble(reason, ends_run=True) from None
                if not trouble.again or attempt > self.retries:
                    tried = f" (after {attempt} tries)" if attempt > 1 else ""
                    raise Trouble(trouble.reason + tried, ends_run=trouble.ends_run) from None
                self.clock.wait(max(trouble.wait, self._pause(seed, attempt)))
            attempt += 1

    def end(self, reason: str) -> None:
        """Lets no further request out, and wakes who waits for a turn."""
        with self._lock:
            self._ended = self._ended or reason
        self.clock.wake()

    def _pause(self, seed: int, attempt: int) -> float:
        """Doubles with each try, times 0.5 to 1.5 by the image's seed, so that those who failed together return apart."""
        lot = int.from_bytes(hashlib.sha256(f"{seed}/{attempt}".encode()).digest()[:4], "big") / 2**32
        return float(min(self.back_off * 2 ** (attempt - 1), _LONGEST_BACK_OFF) * (0.5 + lot))

    def _take_turn(self) -> None:
        while True:
            with self._lock:
                if self._ended is not None:
                    raise Trouble(self._ended, ends_run=True)
                now = self.clock.now()
                if now >= self._next:
                    self._next = now + self.interval
                    self.requests += 1
                    return
                left = self._next - now
            self.clock.wait(left)

    def _exchange(self, request: Request) -> Answer:
        deadline = time.monotonic() + self.timeout
        where = shown(request.full_url)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                answer = Answer(response.status, response.headers, _body(response, deadline))
                self._answered = True
                return answer
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a status or length that is no number.
            cause = error.reason if isinstance(error, URLError) else error
            if isinstance(cause, TimeoutError):
                raise Trouble(f"{where} gave no whole answer within {self.timeout:g} s", again=True) from None
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise Trouble(f"{where}: {self.key.line(str(cause))}", ends_run=True) from None
            what = f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(cause)
            if isinstance(cause, ConnectionRefusedError | socket.gaierror):
                reason = f"{where} cannot be reached ({self.key.line(what)}); once it can, the same command goes on"
                raise Trouble(reason, again=self._answered, ends_run=True) from None  # Never there: typed wrong.
            raise Trouble(f"{where} broke off ({self.key.line(what)})", again=True) from None


class _AsItComes(HTTPErrorProcessor):
    """Hands every status over as an answer; urllib would resend the key to wherever a redirect points."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:
        return response

    https_response = http_response


def _body(response: HTTPResponse, deadline: float) -> bytes:
    parts, size = [], 0
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > _MAX_BYTES:
            raise HTTPException(f"the answer is over {_MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    declared = response.headers.get("Content-Length")
    if declared is not None and size < int(declared):
        raise HTTPException(f"{size} of {declared} bytes came")
    return b"".join(parts)


def _target(here: str, answer: Answer) -> str | None:
    location = answer.headers.get("Location")
    return urljoin(here, location) if answer.status in (301, 302, 303, 307, 308) and location else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def retry_after(answer: Answer) -> float:
    """Returns the seconds that a 429 or 503 asks for, by number or by date; 0 where it asks for none."""
    if answer.status not in (429, 503):
        return 0.0
    text = (answer.headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
