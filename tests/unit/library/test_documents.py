"""The OpenAPI document: every operation has a summary, true examples, and its refusals."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from services.library.app import create_app
from services.library.hub import Hub
from services.library.jobstore.reader import Reader
from services.library.library import Library
from services.library.live import LiveProgress
from services.library.routes import documents, examples
from services.library.settings import LibrarySettings
from services.library.webhooks.dispatcher import Dispatcher
from shared.access.front import Front
from shared.eventlog.memory import MemoryEventLog
from shared.layout import Layout
from shared.outputs import Outputs
from shared.webhook_targets import Rules
from tests.integration.library.serving import Nobody

OWN = ("/api/jobs", "/api/projects", "/api/presets", "/api/tags", "/api/library/stats")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data: Path = tmp_path_factory.mktemp("data")
    live = LiveProgress()
    front = Front.of(LibrarySettings(data_dir=data), Nobody())
    library = Library(Layout(data), MemoryEventLog(), Reader(data / "jobs.db"), live, Hub(live), lambda: False)
    return create_app(library, Dispatcher(Layout(data), Rules()), front).openapi()


@pytest.mark.parametrize(
    ("shape", "example"),
    [
        (documents.JobPage, examples.JOB_PAGE),
        (documents.JobDetail, examples.JOB_DETAIL),
        (Outputs, examples.FILES),
        (documents.ProjectItem, examples.PROJECT),
        (documents.PresetItem, examples.PRESET),
        (documents.Tags, examples.TAGS),
        (documents.Stats, examples.STATS),
    ],
)
def test_examples_are_of_their_shape(shape: Any, example: Any) -> None:
    adapter = TypeAdapter(shape)
    assert adapter.dump_python(adapter.validate_python(example), mode="json", exclude_unset=True) == example


def test_every_operation_of_the_list_says_what_it_answers(document: dict[str, Any]) -> None:
    for path in OWN:
        operation = document["paths"][path]["get"]
        answers = operation["responses"]
        assert operation["summary"], path
        assert {"200", "403", "422", "500"} <= set(answers), path
        assert answers["200"]["content"]["application/json"]["example"], path
        assert answers["200"]["content"]["application/json"]["schema"], path
        assert set(answers["422"]["content"]) == {"application/problem+json"}, path
        assert "content" not in answers.get("304", {}), path


def test_the_parameters_of_the_list_are_all_there(document: dict[str, Any]) -> None:
    told = {found["name"]: found for found in document["paths"]["/api/jobs"]["get"]["parameters"]}
    assert {"state", "status", "q", "project", "mode", "tag", "include_archived", "limit", "offset", "cursor"} < set(
        told
    )
    assert (told["limit"]["schema"]["maximum"], told["limit"]["schema"]["default"]) == (200, 25)
    assert told["if-none-match"]["in"] == "header"
