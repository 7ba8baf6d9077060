"""The authorisation matrix: every route of every service, asked by everybody (issue 5, how it is shown, 1).

Routes come from the services: their OpenAPI documents, and the tables of what no document has (pages, files, sockets).
What is expected of each comes from `authorisation_table` alone.
"""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from services.ingest import access as ingest_access
from services.library import access as library_access
from services.scheduler import access as scheduler_access
from tests import local_http
from tests.integration.authorisation_table import ACTORS, MEANINGS, SIGNED_IN, TABLE
from tests.integration.authorisation_world import SAFE, WORD, World, peopled
from tests.integration.whole_http import SERVICES

METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})
UNDOCUMENTED = {
    "ingest": frozenset(ingest_access.TABLE),
    "library": frozenset(library_access.TABLE),
    "scheduler": frozenset(scheduler_access.TABLE),
}
"""Of these only that there is such a route, never what it asks for."""
OTHERS = ("nobody", "gone", "viewer", "operator", "stranger", "narrow key")
"""Who is told nothing of what is the owner's alone."""
OF_A_JOB = sorted(line for line in TABLE if "{job_id}" in line or "/files/{path" in line)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with peopled(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, set[str]]:
    """Every line that a service answers, by service."""
    found = {}
    for name in SERVICES:
        document = local_http.get(f"{world.whole.url(name)}/api/{name}.json").json()
        told = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
        assert len(told) > 3
        found[name] = {line for line in told if line.split(" ")[0].lower() in METHODS} | UNDOCUMENTED[name]
        found[name] = {line.replace("/files/{path}", "/files/{path:path}") for line in found[name]}
    return found


def test_every_route_has_a_line_and_every_line_a_route(routes: dict[str, set[str]]) -> None:
    there = set().union(*routes.values())
    assert there - set(TABLE) == set(), "write into the table who may"
    assert set(TABLE) - there == set(), "no service has these any more"


@pytest.mark.parametrize("line", sorted(TABLE))
def test_everybody_comes_as_far_as_the_table_says(world: World, routes: dict[str, set[str]], line: str) -> None:
    meaning = MEANINGS[TABLE[line]]
    for service in (name for name in SERVICES if line in routes[name]):
        told = {}
        for actor in sorted(ACTORS, key=lambda actor: actor in meaning.let_in):  # who ends something comes last
            ids = world.ids_for(line) if actor in meaning.let_in else None
            told[actor] = world.outcome(service, line, actor, ids)
        assert told == {actor: meaning.outcome(actor) for actor in told}, service


@pytest.mark.parametrize("line", OF_A_JOB)
def test_what_is_shared_is_everybodys_to_read_and_nobody_elses_to_change(
    world: World, routes: dict[str, set[str]], line: str
) -> None:
    meaning = MEANINGS[TABLE[line]]
    others = "let in" if line.split(" ", maxsplit=1)[0] in SAFE else "403"
    (service,) = (name for name in SERVICES if line in routes[name])
    told = {actor: world.outcome(service, line, actor, world.shared) for actor in ACTORS if actor in OTHERS}
    expected = {actor: meaning.outcome(actor) for actor in told}
    assert told == {actor: others if outcome == "404" else outcome for actor, outcome in expected.items()}


@pytest.mark.parametrize("line", sorted(line for line in TABLE if line.startswith("GET ")))
def test_no_answer_tells_others_of_what_is_private(world: World, routes: dict[str, set[str]], line: str) -> None:
    """Lists, totals, choices of pages, documents, metrics: the word is in the name of all that the owner has."""
    _hide_the_shared_job(world)
    for service in (name for name in SERVICES if line in routes[name]):
        for actor in OTHERS:
            answer = world.ask(service, line, actor)
            assert isinstance(answer, httpx.Response)
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                continue
            assert WORD not in answer.text, (service, actor)
            told = answer.text.replace(answer.request.url.path, "")
            for name in ("job_id", "project_id", "preset_id", "webhook_id", "upload_id", "key_id", "device_id"):
                assert world.ids[name] not in told or f"{{{name}}}" in line, (service, actor, name)


async def test_no_stream_tells_others_of_what_is_private(world: World) -> None:
    _hide_the_shared_job(world)
    base, job = world.whole.url("library"), world.ids["job_id"]
    stranger, owner = world.asking["stranger"], world.asking["owner"]
    async with httpx.AsyncClient(timeout=30, headers=stranger.reading) as client:
        for path in ("/api/events", "/api/jobs/events"):
            async with client.stream("GET", base + path) as answer, asyncio.timeout(30):
                assert answer.status_code == 200
                lines = aiter(answer.aiter_lines())
                async for line in lines:
                    if not line:  # behind `retry`: it listens
                        break
                url = f"{world.whole.url('ingest')}/api/jobs/{job}/tags"
                for tags in (["lagoon", WORD], [WORD]):
                    told = await asyncio.to_thread(
                        owner.client.put, url, json={"tags": tags}, headers=owner.headers("PUT")
                    )
                    assert told.status_code == 200, told.text
                await asyncio.to_thread(_change_the_shared_job, world, "shared")
                heard = ""
                async for line in lines:
                    heard += line
                    if line.startswith("data:") and world.shared["job_id"] in line:
                        break
                await asyncio.to_thread(_change_the_shared_job, world, "private")
                assert job not in heard


def test_what_one_may_read_is_not_empty(world: World) -> None:
    """The word is there to be found: the owner and an admin find it."""
    for path in ("/api/jobs", "/api/tags", "/api/projects", "/api/presets", "/ui/jobs", "/ui/projects"):
        for actor in ("owner", "admin"):
            answer = world.ask("library", f"GET {path}", actor)
            assert isinstance(answer, httpx.Response)
            assert WORD in answer.text, (path, actor)
    for path in ("/api/webhooks", "/api/keys", "/api/auth/sessions"):
        service = "library" if "webhooks" in path else "ingest"
        answer = world.ask(service, f"GET {path}", "owner")
        assert isinstance(answer, httpx.Response)
        assert WORD in answer.text, path
    state = world.ask("scheduler", "GET /api/runtime/state", "admin")
    assert isinstance(state, httpx.Response)
    assert json.loads(state.text)


def test_the_table_says_something_of_everybody() -> None:
    words = set(TABLE.values())
    assert words == set(MEANINGS), "each word is used"
    for actor in ACTORS:
        outcomes = {MEANINGS[word].outcome(actor) for word in words}
        assert len(outcomes) > 1, actor
        assert ("401" in outcomes) is (actor not in SIGNED_IN)


def _hide_the_shared_job(world: World) -> None:
    if "hidden" in world.spare:
        return
    _change_the_shared_job(world, "private")
    world.spare["hidden"] = []
    deadline = 200
    while deadline and WORD in world.ask("library", "GET /api/tags", "viewer").text:  # type: ignore[union-attr]
        deadline -= 1


def _change_the_shared_job(world: World, visibility: str) -> None:
    owner = world.asking["owner"]
    owner.client.post(
        f"{world.whole.url('ingest')}/api/jobs/{world.shared['job_id']}/visibility",
        json={"visibility": visibility},
        headers=owner.headers("POST"),
    ).raise_for_status()
