"""Who is told what over real sockets: events, rows and progress of a job reach those who may read it now, nobody else.

To show that somebody is not told, each test ends with an event that everybody gets: what comes before it in a stream
was all that there was.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from services.library import hub as hub_module
from shared.events.access import AuditRecorded, UploadCreated, UserSettingsSaved
from shared.events.library import JobDeleted, JobTagged, PresetSaved, ProjectDeleted, ProjectSaved, WebhookSaved
from shared.events.types import Event, JobCanceled, JobCompleted, JobStarted
from shared.identity import new_id, uuid7
from shared.telemetry import Progress
from tests.factories import NOW, claimed, event, submitted
from tests.integration.library.readers import Person, Readers, reading
from tests.integration.library.serving import until

PATIENCE_S = 10


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with reading(tmp_path_factory.mktemp("readers")) as running:
        yield running


@dataclass
class Told:
    """An event stream as the HTML standard says."""

    lines: AsyncIterator[str]

    async def next(self) -> tuple[str, Any]:
        """Return the kind and the data of what comes next. Raises StopAsyncIteration at the end."""
        kind, data = "message", ""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = await anext(self.lines)
                name, _, value = line.partition(": ")
                kind = value if name == "event" else kind
                data = value if name == "data" else data
                if not line and data:
                    return kind, json.loads(data)

    async def before(self, mark: str) -> list[str]:
        """Return what is told up to what is about `mark`, each by its type and what it is about."""
        told: list[str] = []
        while True:
            kind, data = await self.next()
            about = data.get("subject") or data.get("job_id") or data["id"]
            if about == mark:
                return told
            told.append(f"{data['type'].split('.', 1)[1] if 'type' in data else kind} {about}")

    async def until_end(self) -> list[Any]:
        """Return what comes until the stream ends."""
        told = []
        with suppress(StopAsyncIteration):
            while True:
                told.append(await self.next())
        return told


@asynccontextmanager
async def listening(person: Person, path: str, after: int | None = None) -> AsyncIterator[Told]:
    headers = dict(person.client.headers) | ({} if after is None else {"Last-Event-ID": str(after)})
    async with (
        httpx.AsyncClient(base_url=person.client.base_url, headers=headers, timeout=PATIENCE_S) as client,
        client.stream("GET", path) as answer,
    ):
        assert answer.status_code == 200
        lines = aiter(answer.aiter_lines())
        async for line in lines:
            if not line:  # behind `retry`: it is subscribed
                break
        yield Told(lines)


def socket(person: Person, job_id: str) -> connect:
    url = f"ws://127.0.0.1:{person.client.base_url.port}/ws/jobs/{job_id}"
    headers = {"Authorization": person.client.headers["authorization"]}
    return connect(url, additional_headers=headers, open_timeout=PATIENCE_S, proxy=None)


async def closing(client: ClientConnection) -> int | None:
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def append(readers: Readers, *events: Event) -> int:
    return (await asyncio.to_thread(readers.served.append, *events))[-1]


async def show(readers: Readers, job_id: str, visibility: Any) -> None:
    await asyncio.to_thread(readers.show, job_id, visibility)


async def mark(readers: Readers) -> str:
    """Append what everybody is told."""
    job = uuid7()
    await append(readers, submitted(job, owner="u_zoe", visibility="shared"))
    return job


async def running(readers: Readers, owner: str = "u_ann", **changes: Any) -> str:
    job = uuid7()
    await append(readers, submitted(job, owner=owner, **changes), event(JobStarted, job, run=1), claimed(job, "tts"))
    return job


def tell(readers: Readers, job: str, fraction: float) -> None:
    progress = Progress(job_id=job, stage="tts", attempt=1, fraction=fraction)
    readers.served.loop.call_soon_threadsafe(readers.served.library.hub.publish_progress, progress)


STREAMS = ["/api/events", "/api/jobs/events"]


@pytest.mark.parametrize("path", STREAMS)
async def test_a_private_job_is_told_to_its_owner_and_administrators_alone(readers: Readers, path: str) -> None:
    async with (
        listening(readers.ann, path) as ann,
        listening(readers.bob, path) as bob,
        listening(readers.eve, path) as eve,
        listening(readers.narrow_key, path) as narrow_key,
    ):
        job = await running(readers)
        tell(readers, job, 0.25)
        await append(readers, event(JobCompleted, job, run=1))
        end = await mark(readers)
        told = [await each.before(end) for each in (ann, bob, eve, narrow_key)]
    assert told[0] == told[2]
    assert any(line.endswith(job) for line in told[0])
    assert told[1] == told[3] == [], "another user, and an administrator's key that may only read"


@pytest.mark.parametrize("path", STREAMS)
async def test_shared_it_is_told_to_everybody_and_made_private_again_to_nobody_else(
    readers: Readers, path: str
) -> None:
    job = await running(readers)
    async with listening(readers.bob, path) as bob, listening(readers.ann, path) as ann:
        await append(readers, event(JobTagged, job, tags=["a"]))
        await show(readers, job, "shared")
        kind, data = await bob.next()
        if path == "/api/events":
            assert data["type"] == "dubline.job.visibility_changed.v1"
        else:
            assert (kind, data["id"], data["visibility"], data["tags"]) == ("job", job, "shared", ["a"])
        tell(readers, job, 0.5)
        assert (await bob.next())[1]["progress"] == 0.855, "live progress too"
        await show(readers, job, "private")
        tell(readers, job, 0.75)
        await append(readers, event(JobTagged, job, tags=["b"]))
        tell(readers, job, 0.8)
        end = await mark(readers)
        await ann.before(end)
        tell(readers, job, 0.9)
        while (await ann.next())[1]["progress"] < 0.92:
            pass
        assert await bob.before(end) == []
        end = await mark(readers)
        assert await bob.before(end) == [], "not when its owner is told of it either"


async def test_what_is_told_later_is_judged_by_the_job_of_now(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last-Event-ID: once a job is private all of its past is, once it is shared all of it may be read."""
    hub = readers.served.library.hub
    start = hub.position
    hidden = await running(readers, visibility="shared")
    await show(readers, hidden, "private")
    given = await running(readers)
    await show(readers, given, "shared")
    gone = await running(readers)
    deleted = event(JobDeleted, gone, owner="u_ann", base_dir="film", source="")
    await append(readers, event(JobCanceled, gone), deleted)
    end = await mark(readers)
    for remembered in (True, False):
        if not remembered:  # as after a restart: nothing is in memory
            monkeypatch.setattr(hub, "_oldest", hub.position)
            readers.served.library.audiences._known.clear()
        async with listening(readers.bob, "/api/events", after=start) as bob:
            told = await bob.before(end)
        assert told == [f"{kind} {given}" for kind in (
            "job.submitted.v1", "job.started.v1", "stage.claimed.v1", "job.visibility_changed.v1")]  # fmt: skip
        async with listening(readers.bob, "/api/jobs/events", after=start) as bob:
            assert await bob.before(end) == [f"job {given}"]
        async with listening(readers.ann, "/api/events", after=start) as ann:
            assert {line.split()[1] for line in await ann.before(end)} == {hidden, given, gone}
        async with listening(readers.eve, "/api/events", after=start) as eve:
            assert {line.split()[1] for line in await eve.before(end)} == {hidden, given, gone}


async def test_projects_and_presets_are_told_to_their_owner_and_administrators(readers: Readers) -> None:
    project, preset = new_id("proj"), new_id("preset")
    start = readers.served.library.hub.position
    await append(
        readers,
        event(ProjectSaved, project, owner="u_ann", name=f"Films {project}", created_at=NOW),
        event(PresetSaved, preset, owner="u_ann", name=f"Fast {preset}", created_at=NOW),
        event(ProjectDeleted, project),
    )
    end = await mark(readers)
    for person, expected in ((readers.ann, 3), (readers.bob, 0), (readers.eve, 3)):
        async with listening(person, "/api/events", after=start) as told:
            assert len(await told.before(end)) == expected


async def test_webhooks_uploads_settings_and_the_audit_are_told_to_nobody(readers: Readers) -> None:
    start = readers.served.library.hub.position
    await append(
        readers,
        event(WebhookSaved, new_id("hook"), owner="u_ann", url="https://example.org/secret", created_at=NOW),
        event(AuditRecorded, "u_ann", action="login"),
        event(UploadCreated, new_id("up"), owner="u_ann", title="film", total_bytes=1, expires_at=NOW),
        event(UserSettingsSaved, "u_ann", mode="low"),
    )
    end = await mark(readers)
    for person in (readers.ann, readers.bob, readers.eve):
        async with listening(person, "/api/events", after=start) as told:
            assert await told.before(end) == []


@pytest.mark.parametrize("path", ["/api/jobs/{}/events", "/events/jobs/{}"])
async def test_the_stream_of_a_job_that_is_not_yours_is_that_of_a_job_that_never_was(
    readers: Readers, path: str
) -> None:
    job = await running(readers)
    nobody = uuid7()
    for connected in (True, False):
        readers.served.connected = connected
        hidden, none = (readers.bob.get(path.format(each)) for each in (job, nobody))
        assert hidden.status_code == (404 if connected or path.startswith("/events") else 503)
        assert (hidden.status_code, hidden.json()) == (none.status_code, none.json() | {
            name: hidden.json()[name] for name in ("instance", "request_id") if name in none.json()})  # fmt: skip
    readers.served.connected = True


@pytest.mark.parametrize("path", ["/api/jobs/{}/events", "/events/jobs/{}"])
async def test_the_stream_of_a_job_ends_for_others_when_it_becomes_private(readers: Readers, path: str) -> None:
    job = await running(readers, visibility="shared")
    async with (
        listening(readers.bob, path.format(job)) as bob,
        listening(readers.ann, path.format(job)) as ann,
    ):
        assert (await bob.next())[1]
        await append(readers, event(JobTagged, job, tags=["seen"]))
        await show(readers, job, "private")
        await append(readers, event(JobTagged, job, tags=["zanzibar"]))
        assert "zanzibar" not in str(await bob.until_end())
        while "zanzibar" not in str((await ann.next())[1]):
            pass


async def test_the_stream_of_a_deleted_job_is_its_owners(readers: Readers) -> None:
    job = await running(readers)
    await append(readers, event(JobCanceled, job), event(JobDeleted, job, owner="u_ann", base_dir="film", source=""))
    assert readers.bob.get(f"/api/jobs/{job}/events").status_code == 404
    async with listening(readers.ann, f"/api/jobs/{job}/events") as ann:
        assert [(await ann.next())[1]["type"] for _ in range(5)][-1] == "dubline.job.deleted.v1"


async def test_a_socket_is_for_those_who_may_read_its_job(readers: Readers) -> None:
    job = await running(readers)
    async with socket(readers.bob, job) as bob:
        assert await closing(bob) == 1008
    await show(readers, job, "shared")
    async with socket(readers.bob, job) as bob, socket(readers.ann, job) as ann:
        assert json.loads(await bob.recv())["id"] == job
        await ann.recv()
        await show(readers, job, "private")
        await append(readers, event(JobTagged, job, tags=["zanzibar"]))
        assert await closing(bob) == 1008
        async with asyncio.timeout(PATIENCE_S):
            while json.loads(await ann.recv())["tags"] != ["zanzibar"]:
                pass


async def test_a_client_that_is_told_nothing_still_moves_on(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would have to be looked for again, in all that happened meanwhile, when it comes again."""
    monkeypatch.setattr("services.library.routes.events.HEARTBEAT_S", 0.0)
    monkeypatch.setattr(hub_module, "HEARTBEAT_S", 0.05)
    async with listening(readers.bob, "/api/events") as bob:
        seq = await append(readers, submitted(uuid7(), owner="u_ann"))
        async with asyncio.timeout(PATIENCE_S):
            async for line in bob.lines:
                assert not line.startswith("data")
                if line == f"id: {seq}":
                    break


def test_webhooks_are_listed_for_their_owner_and_read_one_by_one_by_administrators_too(readers: Readers) -> None:
    hooks = {person.user: new_id("hook") for person in (readers.ann, readers.bob, readers.eve)}
    known = readers.served.webhooks.subscriptions
    for user, hook in hooks.items():
        saved = event(WebhookSaved, hook, owner=user, url=f"https://example.org/of-{user}", created_at=NOW)
        readers.served.loop.call_soon_threadsafe(known.apply, 1, saved)
    until(lambda: all(known.get(hook) for hook in hooks.values()))
    for person in (readers.ann, readers.bob, readers.eve, readers.narrow_key):
        listed = person.get("/api/webhooks").json()["items"]
        assert [each["id"] for each in listed] == [hooks[person.user]], "their own, an administrator's too"
        page = person.get("/ui/webhooks").text
        assert [user for user, hook in hooks.items() if hook in page] == [person.user]
    for person, readable in ((readers.ann, ["u_ann"]), (readers.eve, list(hooks)), (readers.narrow_key, ["u_eve"])):
        for user, hook in hooks.items():
            for path in ("/api/webhooks/{}", "/api/webhooks/{}/deliveries", "/ui/webhooks/{}"):
                answer = person.get(path.format(hook))
                assert answer.status_code == (200 if user in readable else 404), (person.user, path)
                assert user in readable or user not in answer.text
