"""The app's process: Streamlit's server with our routes before its own, and the guard before both."""

from __future__ import annotations

import gc
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from starlette.middleware import Middleware

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.app import pages
from drawbench.human_eval.app.guard import Guard
from drawbench.human_eval.app.routes import Desk, routes
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import Study


def serve(
    study: Study,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    names: Sequence[str] = (),
    access_code: str | None = None,
    https: bool = False,
    proxies: Sequence[str] = (),
) -> None:
    """Runs the app until it is stopped. ``names`` are host names that it is reached by, besides ``host`` and localhost.

    ``proxies`` are addresses that are believed when they say whom they speak for; uvicorn believes 127.0.0.1 anyway.
    """
    import pandas  # noqa: F401  before the freeze
    import pyarrow  # noqa: F401
    import streamlit as st
    import streamlit.components.v2
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    if not study.manifest.get("images"):
        raise UserError(f"{study.path} was imported and has no images to be rated; analyse it: drawbench study analyse")
    missing = sum(
        not study.image_path(name).is_file() for item in study.items for side in item.sides for name in side.images
    )
    if missing:
        raise UserError(f"{study.path}: {missing} of its images are gone; restore them, or make a new study")
    _check_free(host, port)
    lock = FileLock(study.path / ".rate.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{study.path} is being served already; one process serves a study") from error
    store = Store(study)
    desk = Desk(store, admin_secret(study), access_code, https)
    pages.use(desk)
    hosts = {host, "localhost", "127.0.0.1", *names} - {"0.0.0.0", "::"}  # noqa: S104  names, not an address to bind
    app = st.App(
        str(Path(__file__).with_name("page.py")),
        routes=routes(desk),
        middleware=[
            Middleware(ProxyHeadersMiddleware, trusted_hosts=list(proxies)),
            Middleware(Guard, hosts=sorted(hosts)),
        ],
    )
    gc.collect()
    gc.freeze()  # Streamlit collects after each run; what is here now need not be looked at again.
    config = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "runner.postScriptGC": False,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
    }
    try:
        app.run(config=config)
    finally:
        store.close()
        lock.release()


def _check_free(host: str, port: int) -> None:
    """Says at once that an address cannot be listened at."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: {error.strerror}; give another") from error


def admin_secret(study: Study) -> str:
    """Returns the administrator's secret, which is made once and lies in the study's folder, for its owner alone."""
    file = study.path / "admin_secret.txt"
    if not file.is_file():
        write_atomic(file, (secrets.token_urlsafe(18) + "\n").encode())
        file.chmod(0o600)
    return file.read_text("utf-8").strip()
