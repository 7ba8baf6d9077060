"""Debian's Chromium, driven over its own protocol, pages that watch themselves, and people who sign in."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from tests import local_http
from tests.browser.people import Person
from tests.dubbing_system import System

CHROMIUM = shutil.which("chromium")
ADMIN = Person("browser-admin", "a first admin of the browser tests")
DESK: ViewportSize = {"width": 1280, "height": 900}

Opener = Callable[..., Page]


@pytest.fixture(scope="package")  # no longer: while it lives, Playwright's event loop runs in this thread
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # No sandbox: tests may run as root, and the only pages opened are ours.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def admin(browser: Browser, system: System) -> Any:
    """The state of a browser whose person made the first admin with the token of the start."""
    token = system.standalone.layout.setup_token.read_text().strip()
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.goto(f"{system.url}/ui/setup#{token}")
    assert "#" not in page.url  # the token stays in no history
    page.get_by_label("User name").fill(ADMIN.name)
    page.get_by_label("Password").fill(ADMIN.password)
    page.get_by_label("Once more").fill(ADMIN.password)
    page.get_by_role("button", name="Make the account").click()
    page.wait_for_url("**/ui/jobs")
    expect(page.locator(".menu-name")).to_have_text(ADMIN.name)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def problems() -> list[str]:
    """What went wrong on the page; a test that provokes a refusal takes it out of here."""
    return []


@pytest.fixture
def opened(browser: Browser, system: System, problems: list[str]) -> Iterator[Opener]:
    """Opens browsers of their own; any script error, blocked resource or request to another origin fails the test."""
    contexts = []

    def open_page(state: Any = None, **options: Any) -> Page:
        context = browser.new_context(storage_state=state, **{"viewport": DESK} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(told(message)) if message.type == "error" else None)
        own = (system.url, f"blob:{system.url}")
        page.on("request", lambda request: None if request.url.startswith(own) else problems.append(request.url))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(opened: Opener, admin: Any) -> Page:
    """A page of the first admin."""
    return opened(admin)


@pytest.fixture
def nothing_starts(system: System) -> Iterator[None]:
    """Jobs wait all the while; what the test has made goes at its end."""
    limit(system, 0)
    before = {job["id"] for job in system.get("/api/jobs?state=QUEUED")["items"]}
    yield
    for job in system.get("/api/jobs?state=QUEUED")["items"]:
        if job["id"] not in before:
            local_http.delete(f"{system.url}/api/jobs/{job['id']}", timeout=10)
    limit(system, None)


def told(message: ConsoleMessage) -> str:
    return f"{message.text} {message.location['url']}"


def limit(system: System, jobs: int | None) -> None:
    """Let so many jobs run at once; None is as configured."""
    body = {"overrides": {"MAX_CONCURRENCY_GLOBAL": jobs}}
    local_http.post(f"{system.url}/api/runtime/limits", json=body, timeout=10).raise_for_status()
