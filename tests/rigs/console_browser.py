"""Somebody who looks at the console with Debian's Chromium."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
HOSTILE_TRACE, SPAN = bytes([2]) * 16, bytes([9]) * 8


def chromium() -> str:
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    assert found, "Chromium is not installed: apt-get install chromium"
    return found


class Reader:
    """Somebody at a browser, signed in; whatever the page complains of is a failure."""

    def __init__(self, browser: Browser, port: int, token: str, **options: Any) -> None:
        options = {"viewport": {"width": 1440, "height": 900}, "timezone_id": "Europe/Berlin", **options}
        self.base = f"http://127.0.0.1:{port}"
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._refuse)
        self.page.goto(f"{self.base}/login?token={token}")
        self.page.wait_for_url(f"{self.base}/")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            self.complaints.append(message.text)

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str) -> Page:
        """The page with all of its parts."""
        self.page.goto(self.base + path)
        return self.whole()

    def whole(self) -> Page:
        """The page that is shown, when nothing of it is still being counted."""
        for missing in ("[data-later]", "main [aria-busy]"):
            self.page.locator(missing).first.wait_for(state="detached", timeout=60_000)
        return self.page
