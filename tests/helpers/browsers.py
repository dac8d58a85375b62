"""Open pages in Chromium for tests, and collect errors and requests."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """Find Chromium; None if it or playwright is not installed."""
    programs = (shutil.which(name) for name in PROGRAMS)
    return next(filter(None, programs), None) if find_spec("playwright") else None


def until(page: Any, condition: str, seconds: float = 10.0) -> None:
    """Wait for a condition; playwright's own wait needs eval, which pages forbid."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not true within {seconds} s: {condition}"
        page.wait_for_timeout(30)


@contextmanager
def running_browser(*arguments: str) -> Iterator[Any]:
    """Start Chromium for several pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *arguments],
        )
        yield browser
        browser.close()


def complaints_of(page: Any, own: str) -> list[str]:
    """Return a growing list of the errors of a page, and of its requests to others than `own`."""
    complaints: list[str] = []

    def requested(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:", own)):
            complaints.append(f"loads {request.url[:200]}")

    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", requested)
    return complaints


@contextmanager
def opened(
    path: Path, width: int = 1280, height: int = 900, touch: bool = False, **options: Any
) -> Iterator[tuple[Any, list[str]]]:
    """Open a page; yield it and a growing list of its errors and network requests.

    options  for playwright's new_page, such as device_scale_factor and color_scheme
    """
    with running_browser() as browser:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            has_touch=touch,
            is_mobile=touch,
            **options,
        )
        complaints = complaints_of(page, path.as_uri())
        page.goto(path.as_uri())
        yield page, complaints
