"""Signing in with another service through the pages: a real OpenID provider, whose own page asks who one is."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.broker import free_port
from tests.browser.conftest import Opener
from tests.browser.people import sign_out
from tests.dubbing_system import System
from tests.oidc_provider import running_provider
from tests.system import StandaloneSystem

STYLE = "picocss"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_provider(tmp_path_factory.mktemp("provider")) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def system(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation that gives the provider's people of one domain accounts; nothing is dubbed in it."""
    directory, port = tmp_path_factory.mktemp("system"), free_port()
    secret = directory / "client-secret"
    secret.write_text("a secret\n")
    environment = {
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "OIDC_ISSUER": provider,
        "OIDC_CLIENT_ID": "dubline",
        "OIDC_CLIENT_SECRET_FILE": str(secret),
        "OIDC_CREATE_USERS": "1",
        "OIDC_ALLOWED_DOMAINS": "example.org",
        "OIDC_DEFAULT_ROLE": "operator",
    }
    standalone = StandaloneSystem(directory / "data", port, environment)
    standalone.start_and_wait()
    try:
        yield System(standalone)
    finally:
        standalone.stop()


@pytest.fixture
def visitor(opened: Opener, problems: list[str], provider: str) -> Iterator[Page]:
    """Somebody who is not signed in. The provider's pages are of another origin, and ask a third for their style."""
    page = opened()
    page.route(f"**/*{STYLE}*", lambda route: route.fulfill(body="", content_type="text/css"))
    yield page
    problems[:] = [problem for problem in problems if provider not in problem and STYLE not in problem]


def choose_the_provider(page: Page, system: System) -> None:
    page.goto(f"{system.url}/ui/login?next=/ui/account")
    page.get_by_role("link", name="Sign in with another service").click()


def show_there(page: Page, subject: str) -> None:
    page.locator("input[name=sub]").fill(subject)
    page.get_by_role("button", name="Authorize").click()


def test_a_person_signs_in_at_the_provider_and_comes_back_to_where_they_wanted_to_go(
    visitor: Page, system: System, provider: str
) -> None:
    choose_the_provider(visitor, system)
    visitor.wait_for_url(f"{provider}/**")
    show_there(visitor, "s-maria")
    visitor.wait_for_url(f"{system.url}/ui/account")
    expect(visitor.locator(".menu-name")).to_have_text("maria")
    expect(visitor.locator("#menu .role")).to_have_text("operator")
    expect(visitor.locator("#no-password")).to_be_visible()
    expect(visitor.locator("#password-form")).to_be_hidden()
    assert "code=" not in visitor.url
    sign_out(visitor)
    expect(visitor.get_by_role("link", name="Sign in with another service")).to_be_visible()


def test_whoever_is_not_wanted_here_stays_out_and_is_told_so(visitor: Page, system: System) -> None:
    choose_the_provider(visitor, system)
    show_there(visitor, "a stranger without a proved address")
    visitor.wait_for_url("**/ui/login?problem=oidc_refused")
    expect(visitor.get_by_role("alert").first).to_have_text("The other service did not let you in.")
    choose_the_provider(visitor, system)
    visitor.get_by_role("button", name="Deny").click()
    visitor.wait_for_url("**/ui/login?problem=oidc_state_invalid")  # this provider's refusal does not repeat the state
    expect(visitor.get_by_role("alert").first).to_contain_text("Begin again.")
    visitor.goto(f"{system.url}/ui/jobs")
    visitor.wait_for_url("**/ui/login?next=**")
