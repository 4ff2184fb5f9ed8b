"""A rater's browser: Chromium, and what it receives."""

import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
SETTLED = 700
"""Milliseconds after which the images of an item have been seen for long enough."""


@contextmanager
def chromium():
    """Gives a browser; a test without one is skipped, but not where they are to be run."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium; .ci/run installs one")
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


class Rater:
    """A browser of one rater; keeps all that it receives."""

    def __init__(self, browser, app, token, **options):
        self.context = browser.new_context(viewport={"width": 1366, "height": 768}, **options)
        self.page, self.app, self.received, self.errors = self.context.new_page(), app, [], []
        self.page.on("websocket", lambda ws: ws.on("framereceived", self._frame))
        self.page.on("response", self._response)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{app.url}/r/{token}")

    def _frame(self, frame):
        self.received.append(frame if isinstance(frame, bytes) else frame.encode())

    def _response(self, response):
        if "/api/" in response.url:
            try:
                self.received.append(response.body())
            except Exception:  # noqa: BLE001  a page that was left has no body any more
                return

    def consent(self):
        self.page.get_by_role("button", name="I agree").click()
        self.wait_for(1)

    def wait_for(self, number):
        """Waits until the number-th item can be answered."""
        self.page.locator("[data-is=progress]", has_text=f"{number} of ").wait_for()
        self.page.locator(".rate:not(.waits)").wait_for()
        self.page.wait_for_timeout(SETTLED)

    def code(self):
        self.page.get_by_text("Your completion code").wait_for()
        return self.page.locator("code").inner_text()
