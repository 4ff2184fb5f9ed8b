"""What a browser may ask of the app besides its pages: links, the item, its images, answers, and the administrator's export."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from drawbench.errors import UserError
from drawbench.human_eval.app.guard import Attempts
from drawbench.human_eval.session import Session
from drawbench.human_eval.store import Conflict, Store

RATER, ADMIN = "drawbench_rater", "drawbench_admin"
"""Cookies; neither can be read by a script."""
IN_MEMORY = 2**30
"""Bytes of images that are kept in memory; a larger study's are read from disk."""
LARGEST_BODY = 65_536


class Desk:
    """What the app has at hand: the study's store, its images, and its secrets."""

    def __init__(self, store: Store, admin: str, access_code: str | None = None, secure: bool = False) -> None:
        self.store, self.admin, self.access_code, self.secure = store, admin, access_code, secure
        self.attempts, self.code_attempts = Attempts(), Attempts()
        self._of_unit: dict[str, frozenset[str]] = {}
        folder = store.study.path / "images"
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        self.images: dict[str, bytes] = {}
        if sum(file.stat().st_size for file in files) <= IN_MEMORY:
            self.images = {file.name: file.read_bytes() for file in files}

    def rater(self, request: Request) -> str | None:
        """Returns whose browser this is."""
        token = request.cookies.get(RATER)
        return self.store.rater_of(token) if token else None

    def is_admin(self, secret: str | None) -> bool:
        """Says whether a secret is the administrator's."""
        return secret is not None and hmac.compare_digest(secret.encode(), self.admin.encode())

    def may_see(self, rater: str, image: str) -> bool:
        """Says whether an image belongs to a unit that the rater has."""
        return any(image in self._images_of(unit) for unit in self.store.units(rater))

    def _images_of(self, unit: str) -> frozenset[str]:
        if unit not in self._of_unit:
            sides = [side for item in self.store.study.units[unit] for side in item.sides]
            self._of_unit[unit] = frozenset(name for side in sides for name in side.images)
        return self._of_unit[unit]


def routes(desk: Desk) -> list[Route]:
    """Returns the app's own routes."""

    def route(path: str, answer: Callable[[Desk, Request], Any], *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            made: Response = await answer(desk, request)
            return made

        return Route(path, endpoint, methods=list(methods))

    return [
        route("/r/{token}", _link, "GET"),
        route("/join", _join, "GET", "POST"),
        route("/api/consent", _consent, "POST"),
        route("/api/state", _state, "GET"),
        route("/api/answer", _answer, "POST"),
        route("/img/{name}", _image, "GET"),
        route("/admin", _admin, "GET", "POST"),
        route("/api/admin/export.{kind}", _export, "GET"),
        route("/healthz", _health, "GET"),
    ]


async def _link(desk: Desk, request: Request) -> Response:
    return await _enter(desk, request, request.path_params["token"])


async def _enter(desk: Desk, request: Request, token: str) -> Response:
    """Opens the study for who has a link, by a cookie that no script can read."""
    if await run_in_threadpool(desk.store.rater_of, token) is None:
        # Who has a link is never shut out: behind a proxy all may have one address, and a token is too long to be guessed.
        if desk.attempts.failed(_address(request)):
            return PlainTextResponse("Too many attempts. Wait a minute, then open your link again.", 429)
        return PlainTextResponse("This link is not known here. Ask for a new one.", 404)
    response = RedirectResponse("/", 303)
    response.set_cookie(RATER, token, max_age=90 * 86_400, httponly=True, samesite="lax", secure=desk.secure)
    return response


async def _join(desk: Desk, request: Request) -> Response:
    """Lets in who has the study's access code: a form, and what becomes of it."""
    if desk.access_code is None:
        return PlainTextResponse("This study is by personal link only.", 404)
    if await run_in_threadpool(desk.rater, request) is not None:  # Already somebody here: the same person goes on.
        return RedirectResponse("/", 303)
    if request.method == "GET":
        return _form("Access code", "/join", "")
    given = await _field(request)
    # A code that people chose may be guessed, so that here the right one must wait too; wrong links do not count.
    if desk.code_attempts.is_exhausted(_address(request)):
        return PlainTextResponse("Too many attempts. Wait a minute.", 429)
    if given is None or not hmac.compare_digest(given.strip().encode(), desk.access_code.encode()):
        desk.code_attempts.failed(_address(request))
        return _form("Access code", "/join", "This code is not right.", 403)
    _, token = await run_in_threadpool(desk.store.invite, None)
    return await _enter(desk, request, token)


async def _consent(desk: Desk, request: Request) -> Response:
    rater = await run_in_threadpool(desk.rater, request)
    if rater is None:
        return _no_rater()
    await run_in_threadpool(desk.store.consent, rater)
    return JSONResponse({"ok": True})


async def _state(desk: Desk, request: Request) -> Response:
    position = request.query_params.get("position")
    if position is not None and not (position.isdecimal() and len(position) < 8):
        return JSONResponse({"error": "position must be a whole number"}, 400)
    return await run_in_threadpool(_view, desk, request, None if position is None else int(position))


def _view(desk: Desk, request: Request, position: int | None = None) -> Response:
    """Returns what the rater sees next, or at a position that they have been at."""
    rater = desk.rater(request)
    if rater is None:
        return _no_rater()
    if not desk.store.has_consented(rater):
        return _no_consent()
    session = Session(desk.store, rater)
    state = session.state()
    if state is None:
        return JSONResponse({"error": "Every place in this study is taken."}, 410)
    try:
        return JSONResponse(session.view(state, position))
    except Conflict as error:
        return JSONResponse({"error": str(error)}, 409)


async def _answer(desk: Desk, request: Request) -> Response:
    body = await request.body()
    if len(body) > LARGEST_BODY:
        return JSONResponse({"error": "too long"}, 413)
    try:
        sent = json.loads(body)
        position, item, key = sent["position"], sent["item"], sent["key"]
        answers, seconds = sent["answers"], sent["seconds"]
        texts = (item, key, *answers.keys(), *answers.values())
        if type(position) is not int or not all(isinstance(text, str) and len(text) <= 64 for text in texts):
            raise ValueError("a field has a wrong type")
        seconds = float(seconds)
        if not key:
            raise ValueError("the key is empty")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return JSONResponse({"error": f"this is no answer: {type(error).__name__}"}, 400)

    def keep() -> Response:
        rater = desk.rater(request)
        if rater is None:
            return _no_rater()
        if not desk.store.has_consented(rater):
            return _no_consent()
        try:
            Session(desk.store, rater).answer(position, item, answers, seconds, key)
        except Conflict as error:
            return JSONResponse({"error": str(error)}, 409)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        return _view(desk, request)

    return await run_in_threadpool(keep)


async def _image(desk: Desk, request: Request) -> Response:
    """Gives an image of the rater's own unit, and no other file."""
    name = request.path_params["name"]

    def find() -> Response:
        rater = desk.rater(request)
        if rater is None:
            return _no_rater()
        if not desk.store.has_consented(rater):
            return _no_consent()
        if not desk.may_see(rater, name):
            return PlainTextResponse("no such image", 404)
        # Nothing of the file but what it holds: its time could tell which images were made together.
        data = desk.images.get(name) or desk.store.study.image_path(name).read_bytes()
        return Response(
            data, media_type="image/webp", headers={"Cache-Control": "private, max-age=31536000, immutable"}
        )

    return await run_in_threadpool(find)


async def _admin(desk: Desk, request: Request) -> Response:
    """Asks for the administrator's secret; the page itself is drawn at ``/?admin``."""
    if request.method == "GET":
        return _form("Administrator's secret", "/admin", "")
    given = await _field(request)
    if not desk.is_admin(given):
        if desk.attempts.failed(_address(request)):
            return PlainTextResponse("Too many attempts. Wait a minute.", 429)
        return _form("Administrator's secret", "/admin", "This secret is not right.", 403)
    response = RedirectResponse("/?admin=1", 303)
    response.set_cookie(ADMIN, given or "", httponly=True, samesite="strict", secure=desk.secure)
    return response


async def _export(desk: Desk, request: Request) -> Response:
    """Gives what ``drawbench study export`` writes."""
    from tempfile import TemporaryDirectory

    from drawbench.human_eval.exchange import export

    kind = request.path_params["kind"]
    if not desk.is_admin(request.cookies.get(ADMIN)):
        return PlainTextResponse("The administrator's secret is needed: /admin", 403)
    if kind not in ("csv", "parquet", "json"):
        return PlainTextResponse("csv, parquet or json", 404)

    def make() -> bytes:
        with TemporaryDirectory(dir=desk.store.study.path) as folder:
            file = Path(folder) / f"judgements.{kind}"
            export(desk.store.study, desk.store.judgements(), file)
            return file.read_bytes()

    data = await run_in_threadpool(make)
    headers = {"Content-Disposition": f'attachment; filename="judgements.{kind}"', "Cache-Control": "no-store"}
    return Response(data, media_type="application/octet-stream", headers=headers)


async def _health(desk: Desk, request: Request) -> Response:
    return JSONResponse({"study": desk.store.study.digest[:12]})


async def _field(request: Request) -> str | None:
    """Returns the one field of a form, read by hand: it needs no library, and no more than a line."""
    from urllib.parse import parse_qs

    body = await request.body()
    if len(body) > LARGEST_BODY:
        return None
    return parse_qs(body.decode("latin-1")).get("secret", [None])[0]


def _form(label: str, action: str, error: str, status: int = 200) -> Response:
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{escape(label)}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:24em;margin:15vh auto;padding:0 16px}}
input,button{{font:inherit;padding:8px 12px;width:100%;box-sizing:border-box;margin:6px 0}}</style>
<form method="post" action="{action}"><label>{escape(label)}
<input name="secret" type="password" autocomplete="off" autofocus required></label>
<p role="alert">{escape(error)}</p><button>Go on</button></form></html>"""
    return HTMLResponse(page, status)


def _no_rater() -> Response:
    return JSONResponse({"error": "Open your personal link first."}, 401)


def _no_consent() -> Response:
    return JSONResponse({"error": "Consent is needed first."}, 403)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
