"""Credentials over two real processes and a real broker: believed everywhere, and refused everywhere within a second.

Ingest has the accounts, the library asks it: over the bus, over HTTP while the broker is away, and not at all while
ingest is away too.
"""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as open_socket

from shared.layout import Layout
from tests import local_http
from tests.broker import BinaryBroker, free_port, running_broker
from tests.integration.ingest.service import Ingest, running_ingest
from tests.integration.library.conftest import LibraryProcess, prepare

COOKIE = "__Host-dubline"
WORD = "the-gateways-word"
NAME, PASSWORD = "maria", "a long sentence is easy to keep"
SECOND = 1.0


@dataclass
class Session:
    """A browser that is signed in."""

    token: str
    csrf: str

    @property
    def reading(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.token}"}

    @property
    def writing(self) -> dict[str, str]:
        return self.reading | {"X-CSRF-Token": self.csrf}

    @classmethod
    def of(cls, answer: httpx.Response) -> "Session":
        assert answer.is_success, answer.text
        return cls(answer.cookies[COOKIE], answer.json()["csrf_token"])


@dataclass
class System:
    broker: BinaryBroker
    ingest: Ingest
    library: LibraryProcess

    def sign_in(self) -> Session:
        body = {"username": NAME, "password": PASSWORD, "session": True}
        return Session.of(httpx.post(f"{self.ingest.url}/api/auth/login", json=body))

    def sign_out(self, session: Session) -> None:
        answer = httpx.post(f"{self.ingest.url}/api/auth/logout", headers=session.writing)
        assert answer.is_success, answer.text

    def read(self, session: Session) -> httpx.Response:
        return httpx.get(f"{self.library.url}/api/jobs", headers=session.reading, timeout=10)

    def until(self, session: Session, status: int, within_s: float) -> float:
        """Return after how many seconds the library answers so."""
        began = time.monotonic()
        while (answer := self.read(session)).status_code != status:
            assert time.monotonic() - began < within_s, (answer.status_code, answer.text)
            time.sleep(0.02)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("access")
    data, port = directory / "data", free_port()
    data.mkdir()
    front = {"DUBLINE_GATEWAY_TOKEN": WORD, "DUBLINE_INGEST_URL": f"http://127.0.0.1:{port}"}
    with running_broker(directory) as broker, mock.patch.dict(os.environ, front):
        asyncio.run(prepare(broker))
        with running_ingest(data, broker.url, port=port, **front) as ingest:
            library = LibraryProcess(data, broker)
            library.start()
            try:
                token = Layout(data).setup_token.read_text().strip()
                body = {"token": token, "username": NAME, "password": PASSWORD}
                Session.of(httpx.post(f"{ingest.url}/api/setup", json=body))
                yield System(broker, ingest, library)
            finally:
                library.end(signal.SIGTERM)


class Listener:
    """Follows a stream of the library until it ends."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.begun, self.ended_properly = threading.Event(), False
        self._url, self._headers = url, headers
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        assert self.begun.wait(10)

    def _follow(self) -> None:
        with httpx.stream("GET", self._url, headers=self._headers, timeout=60) as stream:
            assert stream.status_code == 200
            for _ in stream.iter_raw():
                self.begun.set()
        self.ended_properly = True

    def seconds_until_its_end(self, at_most_s: float) -> float:
        began = time.monotonic()
        self._thread.join(at_most_s)
        assert not self._thread.is_alive(), "the stream goes on"
        return time.monotonic() - began


def test_a_session_of_ingest_is_one_of_the_library(system: System) -> None:
    session = system.sign_in()
    assert system.read(session).status_code == 200
    assert httpx.get(f"{system.library.url}/api/jobs").status_code == 401


def test_signing_out_ends_a_stream_properly_and_is_known_within_a_second(system: System) -> None:
    session, other = system.sign_in(), system.sign_in()
    stream = Listener(f"{system.library.url}/api/events", session.reading)
    untouched = Listener(f"{system.library.url}/api/events", other.reading)
    system.sign_out(session)
    assert stream.seconds_until_its_end(SECOND) < SECOND
    assert stream.ended_properly
    assert system.until(session, 401, SECOND) < SECOND
    assert system.read(other).status_code == 200
    assert not untouched.ended_properly
    system.sign_out(other)
    assert untouched.seconds_until_its_end(SECOND) < SECOND


def test_another_cookie_after_a_proof_is_the_only_one_everywhere_at_once(system: System) -> None:
    session = system.sign_in()
    stream = Listener(f"{system.library.url}/api/events", session.reading)
    answer = httpx.post(
        f"{system.ingest.url}/api/auth/confirm", json={"password": PASSWORD}, headers=session.writing, timeout=30
    )
    renewed = Session.of(answer)
    assert system.read(renewed).status_code == 200
    assert stream.seconds_until_its_end(SECOND) < SECOND
    assert stream.ended_properly
    assert system.until(session, 401, SECOND) < SECOND
    going_on = Listener(f"{system.library.url}/api/events", renewed.reading)
    system.sign_out(renewed)
    assert going_on.seconds_until_its_end(SECOND) < SECOND


def test_signing_out_closes_a_web_socket(system: System) -> None:
    session, job_id = system.sign_in(), system.library.finished_job()
    with open_socket(
        f"{system.library.url.replace('http', 'ws')}/ws/jobs/{job_id}", additional_headers=session.reading
    ) as socket:
        socket.recv(timeout=10)
        system.sign_out(session)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=SECOND)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_no_credential_is_in_any_log(system: System) -> None:
    session = system.sign_in()
    system.read(session)
    wrong = "dubs_" + "z" * 43
    httpx.get(f"{system.library.url}/api/jobs", headers={"Authorization": f"Bearer {wrong}"})
    logs = (system.library.data / "library.log").read_text()
    logs += (system.library.data.parent / f"{system.library.data.name}.log").read_text()
    for secret in (session.token, session.csrf, wrong, local_http.local_key()):
        assert secret not in logs


def test_while_the_broker_is_away_ingest_is_asked_itself(system: System) -> None:
    known, later = system.sign_in(), system.sign_in()
    assert system.read(known).status_code == 200
    system.broker.kill()
    try:
        assert system.read(known).status_code == 200
        assert system.read(later).status_code == 200
        system.sign_out(later)
        # Nothing tells of it: what was heard over HTTP is believed for a second, and asked again.
        assert system.until(later, 401, 2.5) < 2.5

        os.kill(system.ingest.process.pid, signal.SIGSTOP)
        try:
            system.until(known, 503, 10)
            refused: Any = system.read(known)
            assert refused.json()["code"] == "access_unavailable"
            assert int(refused.headers["Retry-After"]) > 0
            assert local_http.get(f"{system.library.url}/api/jobs").status_code == 200
            assert httpx.get(f"{system.library.url}/livez").status_code == 200
        finally:
            os.kill(system.ingest.process.pid, signal.SIGCONT)
        assert system.until(known, 200, 10) < 10
    finally:
        system.broker.start()
    system.ingest.wait_until_ready()
    deadline = time.monotonic() + 10
    while not json.loads(httpx.get(f"{system.library.url}/readyz").content)["broker"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stream = Listener(f"{system.library.url}/api/events", known.reading)
    system.sign_out(known)
    assert stream.seconds_until_its_end(SECOND) < SECOND
