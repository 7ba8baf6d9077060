"""The published contract: golden files, additive change only, and examples that validate."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.events import schemas
from shared.events.types import EVENT_TYPES, JobStarted, decode
from tests.factories import claimed, completed, event, failed, submitted

DOCS = Path(__file__).parents[2] / "docs"
GENERATED = schemas.schemas()


@pytest.mark.parametrize("name", GENERATED)
def test_a_published_schema_changes_only_by_addition(name: str) -> None:
    golden = json.loads((DOCS / "schemas" / f"{name}.json").read_text())
    assert schemas.breaking_changes(golden, GENERATED[name]) == []


@pytest.mark.parametrize("name", GENERATED)
def test_the_golden_files_are_what_the_models_say(name: str) -> None:
    """Regenerate with `make schemas` after an addition."""
    assert (DOCS / "schemas" / f"{name}.json").read_text() == schemas.encode(GENERATED[name])


def test_nothing_was_unpublished() -> None:
    assert {path.stem for path in (DOCS / "schemas").glob("*.json")} == set(GENERATED)


def test_the_asyncapi_document_is_current_and_names_every_event() -> None:
    text = (DOCS / "asyncapi.json").read_text()
    assert text == schemas.encode(schemas.asyncapi())
    document = json.loads(text)
    assert set(document["components"]["messages"]) == {schemas.type_of(model) for model in EVENT_TYPES}
    for message in document["components"]["messages"].values():
        assert (DOCS / message["payload"]["$ref"]).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["properties"].pop("subject"),
        lambda s: s["required"].append("traceparent"),
        lambda s: s["$defs"]["JobSubmittedData"]["properties"].pop("owner"),
        lambda s: s["$defs"]["SourceMedia"]["properties"]["size"].update(type="string"),
        lambda s: s["$defs"]["JobSubmittedData"]["properties"]["mode"]["enum"].remove("low"),
    ],
)
def test_a_breaking_change_is_found(change: Any) -> None:
    old = GENERATED["dubline.job.submitted.v1"]
    new = copy.deepcopy(old)
    change(new)
    assert schemas.breaking_changes(old, new)


def test_an_addition_is_not_a_breaking_change() -> None:
    old = GENERATED["dubline.job.submitted.v1"]
    new = copy.deepcopy(old)
    new["$defs"]["JobSubmittedData"]["properties"]["series"] = {"type": "string", "default": ""}
    assert schemas.breaking_changes(old, new) == []


@pytest.mark.parametrize(
    "example",
    [submitted("j"), event(JobStarted, "j", run=1), claimed("j", "tts"), completed("j", "mux"), failed("j", "mix")],
)
def test_an_event_round_trips_and_validates_against_its_schema(example: Any) -> None:
    raw = example.encode()
    assert decode(raw) == example
    assert decode(raw).encode() == raw
    Draft202012Validator(GENERATED[example.type]).validate(json.loads(raw))


def test_a_reader_ignores_members_that_it_does_not_know() -> None:
    body = json.loads(submitted("j").encode()) | {"newer": 1}
    body["data"]["newer"] = {"deep": True}
    assert decode(json.dumps(body).encode()).encode() == submitted("j").model_copy(update={"id": body["id"]}).encode()
