"""A service on loopback refuses other machines, other sites' pages, and re-bound names."""

import pytest
from starlette.datastructures import Headers

from shared.loopback import NotLoopbackError, check_listen_address, is_loopback, refusal


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "app.localhost"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    check_listen_address(host, allow_non_loopback=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.org", "evil.org", "", "127.0.0.1.evil"])
def test_other_machines(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(NotLoopbackError):
        check_listen_address(host, allow_non_loopback=False)
    check_listen_address(host, allow_non_loopback=True)


def code(method: str, headers: dict[str, str], allowed: frozenset[str] = frozenset()) -> str | None:
    refused = refusal(method, Headers({"host": "127.0.0.1:8000"} | headers), allowed)
    return refused.code if refused else None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"host": "localhost:8000", "origin": "http://localhost:8000"},
        {"host": "[::1]:8000"},
    ],
)
def test_own_pages_and_programs_may_write(headers: dict[str, str]) -> None:
    assert code("POST", headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:8000.evil.org"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_sites_pages_may_not(method: str, headers: dict[str, str]) -> None:
    assert code(method, headers) == "cross_site_request"


def test_reading_is_not_writing() -> None:
    assert code("GET", {"sec-fetch-site": "cross-site"}) is None


@pytest.mark.parametrize("host", ["evil.org", "evil.org:8000", "127.0.0.1.evil.org", "", "[::1", "192.168.1.2:8000"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_rebound_name_is_not_served_even_for_reading(method: str, host: str) -> None:
    assert code(method, {"host": host}) == "host_not_allowed"


def test_configured_names_are_served() -> None:
    assert code("GET", {"host": "dub.example:443"}, frozenset({"dub.example"})) is None
