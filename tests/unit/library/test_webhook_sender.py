"""One attempt: it reaches exactly the address that was checked, and nothing that a receiver does makes it more."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.library.webhooks import sender as module
from services.library.webhooks.sender import Sender
from shared.webhook_targets import Rules
from tests.broker import free_port
from tests.webhook_receiver import Receiver, receiving

LOOPBACK = Rules.parse("127.0.0.0/8")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


async def test_a_message_arrives_with_its_headers_and_no_others_names(receiver: Receiver) -> None:
    outcome = await Sender(LOOPBACK).send(receiver.url, {"webhook-id": "msg_1"}, b"{}")
    assert (outcome.status, outcome.error, outcome.ok) == (204, None, True)
    (message,) = receiver.got
    assert (message.path, message.id, message.body) == ("/hook", "msg_1", b"{}")
    assert message.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_private_addresses_are_refused_unless_the_installation_allows_them(receiver: Receiver) -> None:
    outcome = await Sender(Rules()).send(receiver.url, {}, b"{}")
    assert outcome.status is None
    assert outcome.error is not None
    assert outcome.error.startswith("refused:")
    assert receiver.got == []


async def test_a_redirect_to_the_metadata_service_is_a_failure_and_not_followed(receiver: Receiver) -> None:
    sender = Sender(LOOPBACK)
    with receiving() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            for target in ("http://169.254.169.254/latest/meta-data/", elsewhere.url):
                receiver.answers = [(status, {"location": target})]
                outcome = await sender.send(receiver.url, {}, b"{}")
                assert (outcome.status, outcome.ok) == (status, False)
        assert elsewhere.got == []


async def test_dns_that_answers_public_first_and_private_then_gains_nothing(receiver: Receiver) -> None:
    """Rebinding: the address that was checked is the one that is used, and each attempt checks anew."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def rebinding(host: str, _port: int) -> list[str]:
        return answers.pop(0)

    used: list[str] = []

    class Watched(Sender):
        async def _post_to(self, address: str, *_: object) -> tuple[int, None]:
            used.append(address)
            return 204, None

    sender = Watched(Rules.parse("", allow_http=True), resolver=rebinding)
    url = f"http://rebound.example:{receiver.port}/hook"
    assert (await sender.send(url, {}, b"{}")).ok
    assert used == ["8.8.8.8"]  # one look-up an attempt: nobody resolves the name a second time
    assert not (await sender.send(url, {}, b"{}")).ok
    assert used == ["8.8.8.8"]
    assert receiver.got == []


async def test_the_name_is_never_looked_up_again_to_connect(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pinned(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    def forbidden(host: str, *_args: object, **_options: object) -> None:
        raise AssertionError(f"{host} was looked up again")

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: real(host, *a, **k) if host == "127.0.0.1" else forbidden(str(host)),
    )
    outcome = await Sender(LOOPBACK, resolver=pinned).send(f"http://pinned.example:{receiver.port}/a?b", {}, b"{}")
    assert outcome.ok, outcome.error
    assert receiver.got[0].headers["host"] == f"pinned.example:{receiver.port}"
    assert receiver.got[0].path == "/a?b"


async def test_the_next_address_is_tried_where_nobody_listens(receiver: Receiver) -> None:
    async def two(_host: str, _port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    assert (await Sender(LOOPBACK, resolver=two).send(f"http://two.example:{receiver.port}/", {}, b"{}")).ok


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await Sender(LOOPBACK).send(receiver.url, {}, b"{}")).ok


async def test_a_receiver_that_does_not_answer_costs_the_time_limit_and_no_more() -> None:
    with receiving(hold=threading.Event()) as silent:
        outcome = await Sender(LOOPBACK, timeout_s=0.2).send(silent.url, {}, b"{}")
    assert (outcome.status, outcome.error) == (None, "no answer within 0.2 s")


async def test_a_receiver_that_is_down_is_an_outcome() -> None:
    outcome = await Sender(LOOPBACK).send(f"http://127.0.0.1:{free_port()}/", {}, b"{}")
    assert outcome.status is None
    assert outcome.error is not None
    assert outcome.error.startswith("ConnectError")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2000\r\n" + b"x" * 0x2000 + b"\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n\x1f\x8b", 200),
        (b"HTTP/1.1 500 " + b"x" * 1000 + b"\r\n\r\n", 500),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 1_000_000 + b"\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"", None),
    ],
)
async def test_an_endless_broken_or_huge_answer_is_not_read(
    answer: bytes, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_READ_S", 0.05)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            await writer.drain()
            if status == 200:
                await reader.read()  # the body would go on for ever: the sender hangs up
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await Sender(LOOPBACK).send(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert outcome.status == status
    assert len(outcome.error or "") <= 200


async def test_what_nobody_foresaw_is_an_outcome_too() -> None:
    async def broken(_host: str, _port: int) -> list[str]:
        raise RuntimeError("a bug")

    outcome = await Sender(LOOPBACK, resolver=broken).send("https://a.example/", {}, b"{}")
    assert (outcome.status, outcome.error) == (None, "RuntimeError")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for hooks.example, and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    made = tmp_path / "both.pem"
    names = ("-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example")
    how = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    command = [openssl, *how, *names, "-keyout", made, "-out", tmp_path / "certificate.pem"]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    made.write_bytes(made.read_bytes() + (tmp_path / "certificate.pem").read_bytes())
    return made


async def test_tls_asks_for_the_urls_name_at_the_checked_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def pinned(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    with receiving(tls=context) as receiver:
        untrusted = await Sender(LOOPBACK, resolver=pinned).send(f"https://hooks.example:{receiver.port}/", {}, b"{}")
        assert "CERTIFICATE_VERIFY_FAILED" in (untrusted.error or "")
        monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(certificate))  # how an installation adds an authority
        sender = Sender(LOOPBACK, resolver=pinned)
        trusted = await sender.send(f"https://hooks.example:{receiver.port}/hook", {}, b"{}")
        assert trusted.ok, trusted.error
        other = await sender.send(f"https://other.example:{receiver.port}/hook", {}, b"{}")
        assert "CERTIFICATE_VERIFY_FAILED" in (other.error or "")
    assert asked == ["hooks.example", "hooks.example", "other.example"]
    assert len(receiver.got) == 1
