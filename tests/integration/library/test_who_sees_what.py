"""Who reads what over real sockets: owner, administrator, or shared. What one may not see does not exist (section 5.2).

Two views of "does not exist": the answer is the one that is given of an id that never was, and nothing that is told
elsewhere (lists, totals, tags, choices of a page) is any different.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.artifacts import Artifact
from shared.events.library import JobDeleted, PresetSaved, ProjectSaved, WebhookSaved
from shared.events.types import JobCanceled, JobStarted
from shared.identity import uuid7
from tests.factories import NOW, claimed, completed, event, submitted
from tests.integration.library.readers import Person, Readers, reading
from tests.integration.library.serving import until

WORD = "zanzibar"
"""In all that Ann keeps to herself."""

ONE_JOB = (
    "/api/jobs/{}", "/api/jobs/{}?history=true", "/api/jobs/{}?at=999998", "/api/jobs/{}?at=999999&history=true",
    "/api/jobs/{}?at=2030-01-01T00:00:00Z", "/api/jobs/{}/files", "/api/jobs/{}/outputs",
    "/api/jobs/{}/stream/manifest", "/api/jobs/{}/logs", "/api/jobs/{}/logs/tail", "/api/jobs/{}/logs/stream?once=1",
    "/ui/jobs/{}", "/ui/jobs/{}?history=true", "/ui/jobs/{}?at=999998",
)  # fmt: skip
"""Every address of a single job but its events and sockets, which have tests of their own."""

LISTS = (
    "/api/jobs", "/api/jobs?include_archived=1&limit=200", "/api/jobs?view=shared", "/api/jobs?view=mine",
    "/api/jobs?owner=u_ann", f"/api/jobs?q={WORD}", "/api/jobs?project=zanz", f"/api/jobs?tag={WORD}",
    "/api/jobs?state=RUNNING", "/api/tags", "/api/library/stats", "/api/projects", "/api/presets", "/ui/jobs",
    "/ui/jobs?view=shared", "/ui/jobs?include_archived=1", "/ui/projects", "/ui/webhooks",
)  # fmt: skip


@dataclass(frozen=True)
class Ours:
    """A job with all that a job can have, and where its files are."""

    id: str
    base: str

    @property
    def files(self) -> list[str]:
        """Recorded ones first, then those that no event names."""
        return [f"/files/{self.base}/{name}" for name in ("film.dub.mkv", "job.log", "stream/0001.m4s")]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with reading(tmp_path_factory.mktemp("readers")) as running:
        yield running


def job_of(readers: Readers, person: Person, word: str = WORD, **changes: Any) -> Ours:
    """Append a running job of a person whose files are on disk."""
    job_id, layout = uuid7(), readers.served.layout
    base = layout.claim_base_dir(job_id, f"{word} {job_id[-6:]}")
    contents = {"film.dub.mkv": b"matroska", "job.log": f"a line about {word}\n".encode(), "stream/0001.m4s": b"mp4"}
    contents["stream/manifest.json"] = b'{"chunks": []}'
    for name, content in contents.items():
        path = layout.output / base / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    video = Artifact(name="film.dub.mkv", path=f"{base}/film.dub.mkv", size=8, sha256="ab" * 32)
    fields = {"title": f"{word}.mp4", "base_dir": base, "tags": [word], "project_name": word} | changes
    readers.served.append(
        submitted(job_id, owner=person.user, **fields),
        event(JobStarted, job_id, run=1),
        claimed(job_id, "mux"),
        completed(job_id, "mux", outputs=[video]),
    )
    return Ours(job_id, base)


@pytest.fixture(scope="module")
def hidden(readers: Readers) -> Ours:
    return job_of(readers, readers.ann)


@pytest.fixture(scope="module", autouse=True)
def settings_of_ann(readers: Readers) -> dict[str, str]:
    """One project, preset and webhook of Ann's."""
    ids = {"project": "proj_00000000000000aa", "preset": "preset_00000000000000aa", "webhook": "hook_00000000000000aa"}
    saved = {"owner": readers.ann.user, "created_at": NOW}
    readers.served.append(
        event(ProjectSaved, ids["project"], name=WORD, output_subdir=WORD, **saved),
        event(PresetSaved, ids["preset"], name=WORD, mode="low", tgt_lang="pt", **saved),
    )
    hook = event(WebhookSaved, ids["webhook"], url=f"https://example.org/{WORD}", **saved)
    known = readers.served.webhooks.subscriptions
    readers.served.loop.call_soon_threadsafe(known.apply, 1, hook)
    until(lambda: known.get(ids["webhook"]) is not None)
    return ids


def said(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.headers["content-type"], answer.text


@pytest.mark.parametrize("connected", [True, False], ids=["", "broker away"])
@pytest.mark.parametrize("path", ONE_JOB)
def test_a_job_of_anothers_is_answered_as_one_that_never_was(
    readers: Readers, hidden: Ours, path: str, *, connected: bool
) -> None:
    never = uuid7()
    readers.served.connected = connected
    try:
        for person in (readers.bob, readers.narrow_key):
            status, kind, text = said(person.get(path.format(hidden.id)))
            assert (status, kind, text.replace(hidden.id, never)) == said(person.get(path.format(never))), path
            assert status == (404 if connected or "at=" not in path else 503)
            assert WORD not in text
        if connected:
            for person in (readers.ann, readers.eve):
                assert person.get(path.format(hidden.id)).status_code == 200, path
    finally:
        readers.served.connected = True


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_of_anothers_is_answered_as_one_that_is_not_there(readers: Readers, hidden: Ours, method: str) -> None:
    missing = readers.bob.client.request(method, f"/files/{hidden.base}/nothing.mkv")
    assert missing.status_code == 404
    for path in hidden.files:
        for headers in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}, {"If-Match": '"x"'}):
            for person in (readers.bob, readers.narrow_key):
                answer = person.client.request(method, path, headers=headers)
                assert said(answer) == said(missing), (path, headers)
        for person in (readers.ann, readers.eve):
            assert person.client.request(method, path).status_code == 200, path


@pytest.mark.parametrize("path", LISTS)
def test_no_list_tells_of_what_is_anothers(readers: Readers, hidden: Ours, path: str) -> None:
    for person in (readers.bob, readers.narrow_key):
        answer = person.get(path)
        assert answer.status_code == 200, path
        assert hidden.id not in answer.text
        assert WORD not in answer.text.replace(path.partition("?")[2], "").replace(f'value="{WORD}"', "")
    if "view=" not in path and path not in ("/api/library/stats", "/ui/webhooks"):
        assert WORD in readers.eve.get(path).text
    if "shared" not in path and path != "/api/library/stats":
        assert WORD in readers.ann.get(path).text


def test_totals_states_and_tags_are_those_of_what_one_sees(tmp_path: Path) -> None:
    with reading(tmp_path) as readers:
        check_totals(readers, job_of(readers, readers.ann))


def check_totals(readers: Readers, hidden: Ours) -> None:
    own, shared = job_of(readers, readers.bob, "lagoon"), job_of(readers, readers.ann, "island")
    readers.show(shared.id, "shared")
    assert readers.bob.jobs() == ([shared.id, own.id], 2)
    assert readers.bob.jobs(view="mine") == ([own.id], 1)
    assert readers.bob.jobs(view="shared") == ([shared.id], 1)
    assert readers.bob.jobs(owner=readers.ann.user) == ([shared.id], 1)
    assert readers.bob.jobs(owner=readers.eve.user) == ([], 0)
    assert readers.ann.jobs(view="mine") == ([shared.id, hidden.id], 2)
    assert readers.eve.jobs(owner=readers.ann.user) == ([shared.id, hidden.id], 2)
    assert readers.eve.jobs() == ([shared.id, own.id, hidden.id], 3)
    assert readers.eve.jobs(view="mine") == readers.narrow_key.jobs(view="mine") == ([], 0)
    assert readers.narrow_key.jobs() == ([shared.id], 1), "B4: no key has more than its scopes, whoever owns it"
    stats = readers.bob.get("/api/library/stats").json()
    assert (stats["counts"], stats["total"], stats["quarantined"]) == ({"RUNNING": 2}, 2, None)
    assert readers.eve.get("/api/library/stats").json()["quarantined"] == 0
    assert {found["tag"] for found in readers.bob.get("/api/tags").json()["items"]} == {"lagoon", "island"}
    page = readers.bob.get("/ui/jobs?view=mine").text
    assert re.findall(r'id="job-([^"]+)"', page) == [own.id]
    assert 'name="view" value="mine"' in page, "the form that narrows it further keeps it"


@pytest.mark.parametrize("query", ["view=others", "view=mine&owner=u_ann", "owner=*", "owner=a'b", "owner=" + "u" * 65])
def test_nonsense_about_whose_is_refused(readers: Readers, query: str) -> None:
    assert readers.bob.get(f"/api/jobs?{query}").json()["code"] == "invalid_request"
    assert readers.bob.get(f"/ui/jobs?{query}").status_code == 422


def test_nobody_is_given_a_page_or_a_tag_that_was_read_for_another(readers: Readers, hidden: Ours) -> None:
    tags = {person.user: person.get("/api/jobs").headers["etag"] for person in (readers.ann, readers.bob, readers.eve)}
    assert len({tags[readers.ann.user], tags[readers.bob.user]}) == 2
    for _ in range(2):  # the second time each has been kept
        for person, sees in ((readers.ann, True), (readers.bob, False), (readers.eve, True)):
            assert (hidden.id in person.jobs()[0]) is sees
    stolen = {"If-None-Match": ", ".join(tags.values())}
    assert readers.narrow_key.get("/api/jobs", {"If-None-Match": tags[readers.ann.user]}).status_code == 200
    for person in (readers.ann, readers.bob):
        assert person.get("/api/jobs", stolen).headers["etag"] == tags[person.user]
    route = readers.bob.client.head("/api/jobs")  # HEAD goes past the lane
    assert route.headers["etag"] == tags[readers.bob.user]


def test_what_is_shared_is_everybodys_to_read_until_it_is_private_again(readers: Readers) -> None:
    ours = job_of(readers, readers.ann, "harbour")
    addresses = [path.format(ours.id) for path in ONE_JOB] + ours.files
    known: dict[str, str] = {}
    for visibility, status in (("private", 404), ("shared", 200), ("private", 404)):
        readers.show(ours.id, visibility)  # type: ignore[arg-type]
        assert (ours.id in readers.bob.jobs()[0]) is (status == 200)
        assert ("harbour" in readers.bob.get("/api/tags").text) is (status == 200)
        assert ("harbour" in readers.bob.get("/ui/jobs").text) is (status == 200)
        for path in addresses:
            answer = readers.bob.get(path, {"If-None-Match": known.get(path, "")})
            assert answer.status_code == status, path
            if status == 200 and "etag" in answer.headers:
                known[path] = answer.headers["etag"]
            assert readers.ann.get(path).status_code == 200
            assert readers.eve.get(path).status_code == 200
    assert len(known) > len(ours.files), "what a browser has kept is not confirmed to it once it is private"


def test_its_past_is_hidden_with_it(readers: Readers) -> None:
    """Once private, also what it was while it was shared: a job is for whom it is for now."""
    ours = job_of(readers, readers.ann, "orchard")
    readers.show(ours.id, "shared")
    (seq,) = {readers.bob.get(f"/api/jobs/{ours.id}", at=1 << 60).json()["at"]["seq"]}
    readers.show(ours.id, "private")
    assert readers.bob.get(f"/api/jobs/{ours.id}", at=seq).status_code == 404
    assert readers.ann.get(f"/api/jobs/{ours.id}", at=seq).json()["visibility"] == "shared"


def test_that_a_job_was_deleted_is_told_to_those_who_could_read_it(readers: Readers) -> None:
    ours = job_of(readers, readers.ann, "lantern")
    readers.served.append(
        event(JobCanceled, ours.id),
        event(JobDeleted, ours.id, owner=readers.ann.user, base_dir=ours.base, source="uploads/up_1.mp4"),
    )
    for path in (f"/api/jobs/{ours.id}", f"/ui/jobs/{ours.id}", f"/api/jobs/{ours.id}/logs"):
        assert [person.get(path).status_code for person in (readers.ann, readers.eve)] == [410, 410]
        assert readers.bob.get(path).status_code == 404
    assert readers.ann.get(f"/api/jobs/{ours.id}", at=readers.served.projection.cursor.seq - 1).status_code == 200
    assert readers.bob.get(f"/api/jobs/{ours.id}", at=readers.served.projection.cursor.seq - 1).status_code == 404
    for path in ours.files:  # they may lie there yet: of a job that is gone they are nobody's
        assert [person.get(path).status_code for person in (readers.ann, readers.bob)] == [404, 404]


def test_a_job_that_is_not_listed_yet_is_its_owners(readers: Readers) -> None:
    ours = uuid7()
    readers.served.log_only(submitted(ours, owner=readers.ann.user, title=WORD))
    assert readers.ann.get(f"/api/jobs/{ours}").status_code == 200
    assert readers.bob.get(f"/api/jobs/{ours}").status_code == 404
    assert readers.bob.get(f"/ui/jobs/{ours}").status_code == 404
    readers.served.append()
    assert ours in readers.ann.jobs()[0]
    assert ours not in readers.bob.jobs()[0]


def test_a_log_that_is_followed_ends_when_the_job_is_private_again(readers: Readers) -> None:
    ours = job_of(readers, readers.ann, "railway")
    readers.show(ours.id, "shared")
    log = readers.served.layout.output / ours.base / "job.log"
    with readers.bob.client.stream("GET", f"/api/jobs/{ours.id}/logs/stream") as answer:
        lines = answer.iter_lines()
        assert any("a line about railway" in line for line in lines)
        readers.show(ours.id, "private")
        with log.open("a") as file:
            file.write("said in private\n")
        rest = list(lines)  # it ends by itself
    assert not [line for line in rest if "private" in line or line == "event: end"]
    until(lambda: len(readers.served.library.hub) == 0)


def test_projects_presets_and_webhooks_are_their_owners(readers: Readers, settings_of_ann: dict[str, str]) -> None:
    ids = settings_of_ann
    paths = [f"/api/projects/{ids['project']}", f"/api/presets/{ids['preset']}", f"/ui/webhooks/{ids['webhook']}"]
    for path in paths:
        assert [person.get(path).status_code for person in (readers.ann, readers.eve)] == [200, 200], path
        never = path[:-2] + "bb"
        for person in (readers.bob, readers.narrow_key):
            assert said(person.get(path)) == said(person.get(never))
            assert person.get(path).status_code == 404


def test_a_file_that_is_nobodys_is_an_administrators(readers: Readers) -> None:
    output = readers.served.layout.output
    for name, marker in (("loose", ""), ("unknown", uuid7()), ("strange", "?")):
        (output / name).mkdir()
        (output / name / "a.txt").write_text("text")
        if marker:
            (output / name / ".job").write_text(marker)
        asked = {person.user: person.get(f"/files/{name}/a.txt").status_code for person in (readers.ann, readers.eve)}
        assert asked == {readers.ann.user: 404, readers.eve.user: 200}, name


def test_the_marker_says_whose_a_directory_is_and_jobs_db_where_there_is_none(readers: Readers) -> None:
    output = readers.served.layout.output
    ours, theirs = job_of(readers, readers.ann, "winter"), job_of(readers, readers.bob, "winter")
    path = f"/files/{ours.base}/job.log"
    assert (readers.ann.get(path).status_code, readers.bob.get(path).status_code) == (200, 404)
    (output / ours.base / ".job").unlink()  # as a directory that the predecessor left
    assert (readers.ann.get(path).status_code, readers.bob.get(path).status_code) == (200, 404)
    (output / ours.base / ".job").write_text(f"{theirs.id}\n")
    assert (readers.ann.get(path).status_code, readers.bob.get(path).status_code) == (404, 200)


def test_a_path_that_two_jobs_recorded_is_for_those_who_see_both(readers: Readers) -> None:
    """B1: two jobs of the predecessor shared a directory, and nobody can tell whose film lies there now."""
    ours, theirs = job_of(readers, readers.ann, "bridge"), job_of(readers, readers.bob, "bridge")
    path = ours.files[0]
    recorded = {"path": path.removeprefix("/files/"), "sha256": "ab", "size_bytes": 8}
    readers.served.store.job_outputs[theirs.id] = {"outputs": [recorded]}
    assert [person.get(path).status_code for person in (readers.ann, readers.bob)] == [404, 404]
    readers.show(ours.id, "shared")
    readers.show(theirs.id, "shared")
    assert [person.get(path).status_code for person in (readers.ann, readers.bob)] == [200, 200]
    readers.show(ours.id, "private")
    readers.show(theirs.id, "private")
