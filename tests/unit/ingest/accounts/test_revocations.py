"""A revocation holds here before its request is answered, and is told until it was told."""

import asyncio

import pytest

from services.ingest.accounts import revocations as telling
from services.ingest.accounts.revocations import Revocations
from shared.access.resolution import Revoked
from shared.eventlog.port import LogUnavailableError
from shared.events.subjects import AUTH_REVOKED

KEY = Revoked(credentials=frozenset({"k0123456789abcdef"}))
USER = Revoked(user="u_0123456789abcdef")


class Bus:
    def __init__(self) -> None:
        self.away = False
        self.stuck = False
        self.told: list[Revoked] = []

    async def tell(self, subject: str, payload: bytes) -> None:
        assert subject == AUTH_REVOKED
        if self.stuck:
            await asyncio.sleep(3600)
        if self.away:
            raise LogUnavailableError("away")
        self.told.append(Revoked.model_validate_json(payload))

    async def has_told(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.told) < count:  # noqa: ASYNC110 -- it has no event
                await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "RETRY_S", 0.01)
    monkeypatch.setattr(telling, "TELL_S", 0.05)


async def test_listeners_here_hear_first_and_others_before_the_answer() -> None:
    bus = Bus()
    heard: list[tuple[str, Revoked, int]] = []
    revocations = Revocations(bus.tell)
    revocations.listen(lambda revoked: heard.append(("first", revoked, len(bus.told))))
    revocations.listen(lambda revoked: heard.append(("second", revoked, len(bus.told))))
    await revocations.revoke(KEY)
    assert heard == [("first", KEY, 0), ("second", KEY, 0)]
    assert bus.told == [KEY]


async def test_without_a_broker_it_holds_here_at_once_and_is_told_when_it_is_back() -> None:
    bus = Bus()
    bus.away = True
    heard: list[Revoked] = []
    revocations = Revocations(bus.tell)
    revocations.listen(heard.append)
    for revoked in (KEY, USER, KEY):
        await revocations.revoke(revoked)
    assert heard == [KEY, USER, KEY]
    assert bus.told == []
    bus.away = False
    await bus.has_told(3)
    assert bus.told == [KEY, USER, KEY], "the same one twice may be two"


async def test_a_broker_that_hangs_holds_up_no_request_for_long() -> None:
    bus = Bus()
    bus.stuck = True
    revocations = Revocations(bus.tell)
    async with asyncio.timeout(2):
        await revocations.revoke(KEY)
    await revocations.close()


async def test_a_request_that_is_cut_off_has_told_nevertheless() -> None:
    bus = Bus()
    bus.away = True
    revocations = Revocations(bus.tell)
    request = asyncio.create_task(revocations.revoke(KEY))
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    bus.away = False
    await bus.has_told(1)


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "UNTOLD_MAX", 3)
    monkeypatch.setattr(telling, "TELL_S", 0)
    bus = Bus()
    bus.away = True
    revocations = Revocations(bus.tell)
    for number in range(10):
        await revocations.revoke(Revoked(user=f"u_{number}"))
    bus.away = False
    await bus.has_told(3)
    assert {told.user for told in bus.told} >= {"u_8", "u_9"}
