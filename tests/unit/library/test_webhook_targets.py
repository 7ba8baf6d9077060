"""Where a webhook may go: only to public addresses over https, unless the installation allows more."""

import asyncio
import ipaddress

import pytest

from shared.webhook_targets import (
    Rules,
    TargetRefusedError,
    UnresolvedError,
    check_addresses,
    checked_target,
    is_public,
    parse_target,
    resolve,
)
from shared.webhooks import URL_MAX_CHARS

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.8", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%2", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1",
    "2001:db8::1", "3fff::1", "5f00::1", "2001::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:127.0.0.1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "192.0.1.1", "2a00:1450:4001::200e", "2606:4700::1111",
          "::ffff:8.8.8.8", "64:ff9b::808:808"]  # fmt: skip


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_is_not_public_is_refused_however_it_is_wrapped(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    with pytest.raises(TargetRefusedError, match="not public"):
        check_addresses(parse_target("https://a.example/"), [text], Rules())


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_allowed(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
    assert check_addresses(parse_target("https://a.example/"), [text, text], Rules()) == [text]


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    with pytest.raises(TargetRefusedError):
        check_addresses(parse_target("https://a.example/"), ["8.8.8.8", "127.0.0.1"], Rules())


def test_http_needs_a_permission() -> None:
    target = parse_target("http://a.example/")
    with pytest.raises(TargetRefusedError, match="https"):
        check_addresses(target, ["8.8.8.8"], Rules())
    assert check_addresses(target, ["8.8.8.8"], Rules.parse("", allow_http=True)) == ["8.8.8.8"]
    assert check_addresses(target, ["10.1.2.3", "::ffff:10.1.2.3"], Rules.parse("10.0.0.0/8, fd00::/8"))
    with pytest.raises(TargetRefusedError, match="https"):
        check_addresses(target, ["10.1.2.3", "8.8.8.8"], Rules.parse("10.0.0.0/8"))


def test_what_is_allowed_is_allowed_alone() -> None:
    rules = Rules.parse("10.0.0.0/8", allow_http=True)
    for other in ("127.0.0.1", "169.254.169.254", "192.168.0.1"):
        with pytest.raises(TargetRefusedError):
            check_addresses(parse_target("https://a.example/"), [other], rules)
    with pytest.raises(ValueError, match="has host bits set"):
        Rules.parse("10.0.0.1/8")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/", "file:///etc/passwd", "//a.example/", "a.example", "https:", "https:///x", "https://",
        "https://user@a.example/", "https://user:secret@a.example/", "https://a.example@b.example/",
        "https://a.example:0/", "https://a.example:65536/", "https://a.example:x/", "https://[::1/",
        "https://a.example/\n", "https://a.example/ x", "https://a.example\\@b.example/", "https://a.example/\x00",
        "https://a.example/" + "x" * URL_MAX_CHARS, "",
    ],
)  # fmt: skip
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        parse_target(url)


def test_what_is_checked_is_what_is_sent() -> None:
    target = parse_target("https://BÜCHER.example:8443/hook?a=1#fragment")
    assert (target.host, target.port) == ("xn--bcher-kva.example", 8443)
    assert target.host_header == "xn--bcher-kva.example:8443"
    assert str(target.url) == "https://xn--bcher-kva.example:8443/hook?a=1"
    assert parse_target("https://[2606:4700::1111]/").host == "2606:4700::1111"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "[::1]"])
async def test_other_ways_to_write_loopback_are_refused(host: str) -> None:
    with pytest.raises(TargetRefusedError) as refused:
        await checked_target(f"https://{host}/", Rules())
    assert not isinstance(refused.value, UnresolvedError)


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a..b", "x" * 64 + ".example"])
async def test_a_name_that_does_not_resolve_is_told_apart(host: str) -> None:
    async def nothing(host: str, port: int) -> list[str]:
        if host.endswith("invalid"):
            raise OSError("no such name")
        return await resolve(host, port)

    with pytest.raises(UnresolvedError):
        await checked_target(f"https://{host}/", Rules(), nothing)
    with pytest.raises(TargetRefusedError, match="https"):
        await checked_target(f"http://{host}/", Rules(), nothing)


async def test_a_resolver_that_hangs_does_not_outlive_its_caller() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await resolve("localhost", 1)
