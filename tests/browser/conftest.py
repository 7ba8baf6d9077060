"""Debian's Chromium, driven over its own protocol, and pages that watch themselves."""

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.dubbing_system import System

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="package")  # no longer: while it lives, Playwright's event loop runs in this thread
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # No sandbox: tests may run as root, and the only pages opened are ours.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def problems() -> list[str]:
    """What went wrong on the page; a test that provokes a refusal takes it out of here."""
    return []


@pytest.fixture
def page(browser: Browser, system: System, problems: list[str]) -> Iterator[Page]:
    """A page that fails its test on any script error, blocked resource, or request to another origin."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: None if request.url.startswith(system.url) else problems.append(request.url))
    yield opened
    context.close()
    assert problems == []


def limit(system: System, jobs: int | None) -> None:
    """Let so many jobs run at once; None is as configured."""
    body = {"overrides": {"MAX_CONCURRENCY_GLOBAL": jobs}}
    httpx.post(f"{system.url}/api/runtime/limits", json=body, timeout=10).raise_for_status()
