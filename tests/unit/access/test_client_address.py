"""The client's address: the socket's, unless the gateway shows that it is the one who says another."""

from typing import Any

import pytest

from shared.access.client_address import ClientAddress, networks
from shared.settings import Settings
from tests.unit.access.asking import ask, echo

WORD = "the-gateways-word"
PEER = "192.0.2.7"
GATEWAY = ("X-Dubline-Gateway", WORD)


async def seen(headers: list[tuple[str, str]], trusted: str = "", word: str = WORD, **scope: Any) -> tuple[str, str]:
    answered = await ask(ClientAddress(echo, word, networks(trusted)), "GET", "/", headers, **scope)
    return answered.json()["address"], answered.json()["scheme"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-For", "203.0.113.9")],
        [("X-Forwarded-For", "203.0.113.9"), ("X-Dubline-Gateway", "wrong")],
        [("X-Forwarded-For", "203.0.113.9"), ("X-Dubline-Gateway", "")],
        [("X-Forwarded-For", "203.0.113.9"), ("X-Dubline-Gateway", "wrong"), GATEWAY],
        [("X-Real-IP", "203.0.113.9"), ("Forwarded", "for=203.0.113.9"), GATEWAY],
        [GATEWAY, ("X-Forwarded-For", "not an address")],
        [GATEWAY, ("X-Forwarded-For", "")],
    ],
)
async def test_what_anybody_else_says_is_not_believed(headers: list[tuple[str, str]]) -> None:
    assert await seen([*headers, ("X-Forwarded-Proto", "http")]) == (PEER, "http")


async def test_without_a_word_no_gateway_is_believed() -> None:
    headers = [("X-Forwarded-For", "203.0.113.9"), ("X-Dubline-Gateway", ""), ("X-Forwarded-Proto", "https")]
    assert await seen(headers, word="") == (PEER, "http")


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        (["203.0.113.9"], "", "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "", "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9"], "", "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.0.0.5"], "10.0.0.0/8", "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.0.0.5 , 10.0.0.6"], "192.168.0.0/16 10.0.0.0/8", "203.0.113.9"),
        (["10.0.0.4, 10.0.0.5"], "10.0.0.0/8", "10.0.0.4"),
        (["junk, 10.0.0.5"], "10.0.0.0/8", "10.0.0.5"),
        (["::ffff:203.0.113.9"], "", "203.0.113.9"),
        (["[2001:db8::1]"], "", "2001:db8::1"),
    ],
)
async def test_of_what_the_gateway_says_the_nearest_that_is_no_trusted_proxy(
    forwarded: list[str], trusted: str, address: str
) -> None:
    assert (await seen([GATEWAY, *(("X-Forwarded-For", each) for each in forwarded)], trusted))[0] == address


async def test_the_scheme_that_the_client_used() -> None:
    assert (await seen([GATEWAY, ("X-Forwarded-Proto", "https")]))[1] == "https"
    assert (await seen([("X-Forwarded-Proto", "https")]))[1] == "http"


async def test_a_request_without_a_peer_has_no_address() -> None:
    assert (await seen([], client=None))[0] == ""


def test_a_network_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXY_SUBNETS", "10.0.0.0/8, 10.0.0.0/99")
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        Settings()
    monkeypatch.setenv("TRUSTED_PROXY_SUBNETS", "10.0.0.0/8 fc00::/7,127.0.0.1")
    assert len(networks(Settings().trusted_proxy_subnets)) == 3
