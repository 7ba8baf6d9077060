"""Webhooks with a real library, broker and receiver: delivered, read back, and sent again after a kill."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from shared.events.library import WebhookSaved, WebhookSavedData, WebhookSendRequested, WebhookSendRequestedData
from shared.identity import new_id, uuid7
from shared.webhooks import derive_secret, ensure_key, message_id, print_secret
from tests import local_http
from tests.factories import context, submitted
from tests.integration.library.conftest import LibraryProcess, append_all, running_library
from tests.webhook_receiver import receiving

SETTLE_S = 20.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryProcess]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8")
        with running_library(tmp_path_factory.mktemp("webhooks")) as running:
            ensure_key(running.layout)
            yield running


def saved(webhook_id: str, url: str, **changes: Any) -> WebhookSaved:
    data = WebhookSavedData(owner="local", url=url, created_at=datetime.now(UTC), **changes)
    return WebhookSaved(**context(webhook_id), data=data)


def tell(library: LibraryProcess, *events: Any) -> None:
    sequences = asyncio.run(append_all(library.broker, events))
    library.wait_for_position(sequences[-1])


def until(library: LibraryProcess, path: str, check: Callable[[Any], bool]) -> Any:
    """Return what the library answers when it is as it should be."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        answer = local_http.get(f"{library.url}{path}", timeout=5)
        if answer.status_code == 200 and check(answer.json()):
            return answer.json()
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def states(page: Any) -> list[str]:
    return [item["state"] for item in page["items"]]


def test_a_job_is_told_and_the_delivery_log_says_so(library: LibraryProcess) -> None:
    hook = new_id("hook")
    with receiving() as receiver:
        tell(library, saved(hook, receiver.url, events=["job.submitted"], description="tells"))
        job = uuid7()
        tell(library, submitted(job))
        (message,) = receiver.wait_for(1)
        page = until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered"])
        second = uuid7()
        tell(library, submitted(second))
        until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered"] * 2)
    key = ensure_key(library.layout)
    Verifier(print_secret(derive_secret(key, hook, 1))).verify(message.body, message.headers)
    assert message.json["data"]["id"] == job == page["items"][0]["job_id"]
    newest = local_http.get(f"{library.url}/api/webhooks/{hook}/deliveries", params={"limit": 1}).json()
    rest = {"limit": 1, "cursor": newest["next_cursor"]}
    oldest = local_http.get(f"{library.url}/api/webhooks/{hook}/deliveries", params=rest).json()
    assert [each["items"][0]["job_id"] for each in (newest, oldest)] == [second, job]
    assert oldest["next_cursor"] is None
    webhook = until(library, f"/api/webhooks/{hook}", lambda _: True)
    assert (webhook["url"], webhook["events"], webhook["pending"]) == (receiver.url, ["job.submitted"], 0)
    assert "secret" not in webhook
    assert hook in [each["id"] for each in until(library, "/api/webhooks", lambda _: True)["items"]]


def test_unknown_webhooks_and_cursors_are_refused(library: LibraryProcess) -> None:
    for path in ("hook_0123456789abcdef", "x", "hook_0123456789abcdef/deliveries"):
        answer = local_http.get(f"{library.url}/api/webhooks/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found")
    for query in ("cursor=abc", "cursor=-1", "limit=0", "limit=201"):
        assert local_http.get(f"{library.url}/api/webhooks/hook_x/deliveries?{query}").status_code == 422


def test_410_is_seen_in_the_log_and_a_test_still_goes(library: LibraryProcess) -> None:
    hook = new_id("hook")
    with receiving(status=410) as receiver:
        tell(library, saved(hook, receiver.url, events=["job.submitted"]), submitted(uuid7()))
        webhook = until(library, f"/api/webhooks/{hook}", lambda found: not found["enabled"])
        assert webhook["disabled_because"] == "The receiver answered 410 Gone."
        receiver.status = 200
        asked = WebhookSendRequested(**context(hook), data=WebhookSendRequestedData())
        tell(library, asked)
        assert receiver.wait_for(2)[1].id == message_id(hook, asked.id)
        until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered", "failed"])


def test_killed_between_sending_and_remembering_it_sends_again_under_the_same_id(library: LibraryProcess) -> None:
    """The receiver has the message and its answer is under way when the library is killed: at least once, not lost."""
    hook = new_id("hook")
    hold = threading.Event()
    with receiving(hold=hold) as receiver:
        tell(library, saved(hook, receiver.url, events=["job.submitted"]), submitted(uuid7()))
        (first,) = receiver.wait_for(1)
        assert library.end(signal.SIGKILL) == -signal.SIGKILL
        hold.set()
        library.start()
        until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered"])
        assert {(message.id, message.body) for message in receiver.got} == {(first.id, first.body)}
        assert len(receiver.got) == 2


def test_what_happened_while_it_was_down_is_told_and_sigterm_waits_for_no_receiver(library: LibraryProcess) -> None:
    hook, jobs = new_id("hook"), [uuid7() for _ in range(20)]
    with receiving(hold=threading.Event()) as receiver:
        tell(library, saved(hook, receiver.url, events=["job.submitted"]), submitted(jobs[0]))
        receiver.wait_for(1)
        assert library.end(signal.SIGTERM) == 0  # though the receiver still holds its answer
        assert receiver.hold is not None
        receiver.hold.set()
        asyncio.run(append_all(library.broker, tuple(submitted(job) for job in jobs[1:])))
        library.start()
        until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered"] * 20)
    assert {message.json["data"]["id"] for message in receiver.got} == set(jobs)
    assert len({message.id for message in receiver.got}) == 20


def test_the_queue_is_a_file_of_its_own_that_may_be_lost(library: LibraryProcess, tmp_path: Path) -> None:
    hook = new_id("hook")
    with receiving() as receiver:
        tell(library, saved(hook, receiver.url, events=["job.submitted"]), submitted(uuid7()))
        until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered"])
        assert library.end(signal.SIGTERM) == 0
        for path in library.layout.state.glob("webhooks.db*"):
            path.replace(tmp_path / path.name)
        library.start()
        until(library, f"/api/webhooks/{hook}/deliveries", lambda found: found.get("items") == [])  # it has begun anew
        job = uuid7()
        tell(library, submitted(job))
        page = until(library, f"/api/webhooks/{hook}/deliveries", lambda found: states(found) == ["delivered"])
    assert page["items"][0]["job_id"] == job
    assert len(receiver.got) == 2
    assert b"webhooks_start_at_the_end" in (library.data / "library.log").read_bytes()
