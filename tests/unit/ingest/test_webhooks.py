"""Webhooks over HTTP: what is accepted, what becomes an event, and that the secret is in none."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from services.ingest.routes import webhooks as routes
from services.ingest.routes.context import Service
from shared import problem_handlers
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import WebhookDeleted, WebhookSaved, WebhookSendRequested
from shared.events.subjects import event_subject
from shared.layout import Layout
from shared.webhooks import DEFAULT_EVENTS, PER_OWNER_MAX, derive_secret, key_file, message_id, print_secret
from tests.principals import SignedIn, principal

URL = "https://127.0.0.1:8443/hook"
MESSAGE = "msg_00112233445566778899aabbccddeeff"


class Ingest:
    """The routes over a log in memory."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.log = MemoryEventLog()
        self.layout = Layout(directory)
        chosen = {"layout": self.layout, "webhook_allow_cidrs": "127.0.0.0/8", "webhook_allow_http": False} | settings
        service = SimpleNamespace(settings=SimpleNamespace(**chosen), bus=SimpleNamespace(log=self.log))
        self.app = FastAPI()
        self.app.state.service = cast(Service, service)
        problem_handlers.install(self.app)
        self.app.include_router(routes.router)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(SignedIn(self.app, principal())), base_url="http://ingest"
        )

    async def ask(self, method: str, path: str = "", body: Any = None) -> httpx.Response:
        return await self.client.request(method, f"/api/webhooks{path}", json=body)

    async def make(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("POST", "", {"url": URL} | fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def newest(self) -> Any:
        return self.log.records[-1].event


@pytest.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    made = Ingest(tmp_path)
    async with made.client:
        yield made


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_webhook_is_an_event_and_its_secret_is_shown_once(ingest: Ingest) -> None:
    answer = await ingest.ask("POST", "", {"url": URL, "events": ["job.failed", "job.failed"], "description": " a  b "})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/webhooks/{made['id']}")
    assert (made["events"], made["description"], made["enabled"]) == (["job.failed"], "a b", True)
    key = key_file(ingest.layout).read_bytes()
    assert made["secret"] == print_secret(derive_secret(key, made["id"], 1))
    (record,) = ingest.log.records
    assert isinstance(record.event, WebhookSaved)
    assert record.subject == event_subject(record.event) == f"dub.evt.webhook.{made['id']}"
    assert (record.event.data.url, record.event.data.owner) == (URL, "local")
    assert made["secret"].encode() not in record.raw
    changed = await ingest.ask("PUT", f"/{made['id']}", {"url": URL})
    assert "secret" not in changed.json()


async def test_no_events_means_that_a_job_ended(ingest: Ingest) -> None:
    made = await ingest.make()
    assert made["events"] == list(DEFAULT_EVENTS)
    assert ingest.newest().data.events == []


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/", "https://10.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
        "https://u:p@127.0.0.1/", "ftp://127.0.0.1/", "http://8.8.8.8/", "http://no-such-name.invalid/", "nonsense",
    ],
)  # fmt: skip
async def test_a_place_where_webhooks_may_not_go_is_refused_and_nothing_is_appended(ingest: Ingest, url: str) -> None:
    assert code(await ingest.ask("POST", "", {"url": url})) == (422, "webhook_target_refused")
    made = await ingest.make()
    assert code(await ingest.ask("PUT", f"/{made['id']}", {"url": url})) == (422, "webhook_target_refused")
    assert len(ingest.log.records) == 1


async def test_private_networks_and_http_are_an_installations_choice(tmp_path: Path) -> None:
    closed = Ingest(tmp_path, webhook_allow_cidrs="")
    assert code(await closed.ask("POST", "", {"url": URL})) == (422, "webhook_target_refused")
    plain = Ingest(tmp_path, webhook_allow_http=True)
    assert (await plain.ask("POST", "", {"url": "http://8.8.8.8/"})).status_code == 201
    for each in (closed, plain):
        await each.client.aclose()


async def test_a_name_that_does_not_resolve_yet_is_a_warning(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object) -> None:
        raise routes.UnresolvedError("no such name")

    monkeypatch.setattr(routes, "checked_target", unknown)
    assert (await ingest.make(url="https://soon.example/"))["warnings"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"url": ""}, {"url": URL + "x" * 2000}, {"url": URL, "events": ["job.exploded"]},
        {"url": URL, "events": ["webhook.test"]}, {"url": URL, "secret": "mine"}, {"url": URL, "enabled": "perhaps"},
        {"url": URL, "description": "x" * 201}, {"url": URL, "description": "a\x00b"}, [], "text",
    ],
)  # fmt: skip
async def test_a_malformed_body_is_refused(ingest: Ingest, body: Any) -> None:
    assert code(await ingest.ask("POST", "", body)) == (422, "invalid_request")


async def test_the_limit_holds_whatever_races(ingest: Ingest) -> None:
    answers = await asyncio.gather(*(ingest.ask("POST", "", {"url": URL}) for _ in range(PER_OWNER_MAX)))
    while refused := [answer for answer in answers if answer.status_code != 201]:
        assert {code(answer) for answer in refused} == {(409, "too_busy")}
        answers = await asyncio.gather(*(ingest.ask("POST", "", {"url": URL}) for _ in refused))
    last = await asyncio.gather(*(ingest.ask("POST", "", {"url": URL}) for _ in range(3)))
    assert {code(answer) for answer in last} == {(409, "too_many_webhooks")}
    made = ingest.newest().subject
    assert (await ingest.ask("DELETE", f"/{made}")).status_code == 204
    await ingest.make()


async def test_a_change_replaces_what_its_owner_chooses_and_the_same_again_is_no_event(ingest: Ingest) -> None:
    made = await ingest.make(events=["job.failed"], description="first")
    wanted = {"url": URL + "/2", "events": ["job.completed"], "enabled": False}
    for _ in range(2):
        answer = await ingest.ask("PUT", f"/{made['id']}", wanted)
        assert answer.status_code == 200
        assert answer.json() == {
            "id": made["id"], "url": URL + "/2", "events": ["job.completed"], "description": "", "enabled": False,
            "disabled_because": "", "created_at": made["created_at"], "warnings": [],
        }  # fmt: skip
    assert len(ingest.log.records) == 2


async def test_enabling_a_webhook_that_the_library_disabled_forgets_why(ingest: Ingest) -> None:
    made = await ingest.make()
    disabled = ingest.newest().data.model_copy(update={"enabled": False, "disabled_because": "410"})
    await ingest.log.append(ingest.newest().model_copy(update={"id": "other", "data": disabled}))
    kept = await ingest.ask("PUT", f"/{made['id']}", {"url": URL, "enabled": False, "description": "broken"})
    assert kept.json()["disabled_because"] == "410"
    enabled = await ingest.ask("PUT", f"/{made['id']}", {"url": URL})
    assert (enabled.json()["enabled"], enabled.json()["disabled_because"]) == (True, "")


async def test_a_rotation_gives_another_secret_and_says_when(ingest: Ingest) -> None:
    made = await ingest.make()
    rotated = (await ingest.ask("POST", f"/{made['id']}/rotate")).json()
    assert rotated["secret"] != made["secret"]
    assert ingest.newest().data.generation == 2
    assert ingest.newest().data.rotated_at is not None
    await ingest.ask("PUT", f"/{made['id']}", {"url": URL, "description": "kept"})
    assert ingest.newest().data.generation == 2


async def test_a_test_and_a_resend_are_asked_for_in_the_log(ingest: Ingest) -> None:
    made = await ingest.make()
    answer = await ingest.ask("POST", f"/{made['id']}/test")
    event = ingest.newest()
    assert isinstance(event, WebhookSendRequested)
    assert (answer.status_code, answer.json()["id"]) == (202, message_id(made["id"], event.id))
    answer = await ingest.ask("POST", f"/{made['id']}/deliveries/{MESSAGE}/resend")
    assert (answer.status_code, answer.json()["id"]) == (202, MESSAGE)
    assert ingest.newest().data.message == MESSAGE
    assert code(await ingest.ask("POST", f"/{made['id']}/deliveries/msg_1/resend")) == (404, "delivery_not_found")
    await ingest.ask("PUT", f"/{made['id']}", {"url": URL, "enabled": False})
    assert (await ingest.ask("POST", f"/{made['id']}/test")).status_code == 202
    assert code(await ingest.ask("POST", f"/{made['id']}/deliveries/{MESSAGE}/resend")) == (409, "webhook_disabled")


@pytest.mark.parametrize("webhook_id", ["hook_0123456789abcdef", "*", "%3E", "hook_*", "..%2fx", "deleted"])
async def test_an_unknown_webhook_is_404_for_every_write(ingest: Ingest, webhook_id: str) -> None:
    if webhook_id == "deleted":
        webhook_id = (await ingest.make())["id"]
        assert (await ingest.ask("DELETE", f"/{webhook_id}")).status_code == 204
        assert isinstance(ingest.newest(), WebhookDeleted)
    before = len(ingest.log.records)
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
        answer = await ingest.ask(method, f"/{webhook_id}{path}", {"url": URL} if method == "PUT" else None)
        assert answer.status_code == 404
    assert len(ingest.log.records) == before


async def test_another_owners_webhook_is_unknown(ingest: Ingest) -> None:
    made = await ingest.make()
    theirs = ingest.newest().data.model_copy(update={"owner": "somebody"})
    await ingest.log.append(ingest.newest().model_copy(update={"id": "other", "data": theirs}))
    assert code(await ingest.ask("DELETE", f"/{made['id']}")) == (404, "webhook_not_found")


async def test_two_changes_at_once_are_both_made(ingest: Ingest) -> None:
    made = await ingest.make()
    answers = await asyncio.gather(
        ingest.ask("POST", f"/{made['id']}/rotate"), ingest.ask("PUT", f"/{made['id']}", {"url": URL + "/2"})
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (ingest.newest().data.generation, ingest.newest().data.url) == (2, URL + "/2")


async def test_a_key_that_cannot_be_made_is_said_before_anything_happens(ingest: Ingest) -> None:
    ingest.layout.secrets.write_text("not a directory")
    assert code(await ingest.ask("POST", "", {"url": URL})) == (503, "webhook_key_unusable")
    assert ingest.log.records == []


async def test_the_log_has_the_trace_of_the_request(ingest: Ingest) -> None:
    parent = f"00-{'1' * 32}-{'2' * 16}-01"
    await ingest.client.post("/api/webhooks", json={"url": URL}, headers={"traceparent": parent})
    assert json.loads(ingest.log.records[0].raw)["traceparent"] == parent
