"""docs/settings.md has every setting of every service with its default, and tells what docker-compose.yml passes on."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.ingest.settings import IngestSettings
from services.library.settings import LibrarySettings
from services.scheduler.settings import SchedulerSettings
from services.worker.settings import WorkerSettings
from shared.settings import Settings, default_models_dir

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\| ([co]?) ?\|([^|]*)\|$", re.MULTILINE)
READERS: dict[str, type[Settings]] = {
    "ingest": IngestSettings,
    "library": LibrarySettings,
    "scheduler": SchedulerSettings,
    "worker": WorkerSettings,
}
PASSED = re.compile(r"\$\{(\w+):-")
OF_COMPOSE_ITSELF = {"DUBLINE_IMAGE", "DUBLINE_WORKER_MEMORY", "DUBLINE_HEALTH_INTERVAL", "DUBLINE_BASE_IMAGE"}
OF_LIBRARIES = {"DUBLINE_SANDBOX", "OTEL_EXPORTER_OTLP_ENDPOINT"}
NOT_ITS_OWN = {"DUBLINE_PORT": "the published port", "DUBLINE_MODELS_DIR": "what is mounted there"}
"""Compose uses these for itself: inside the containers they are fixed."""


def name_of(field: str, about: FieldInfo) -> str:
    return str(about.validation_alias or f"DUBLINE_{field.upper()}")


def fields() -> dict[str, FieldInfo]:
    """Return every setting of all services by the name that it has in the environment."""
    return {name_of(field, about): about for each in READERS.values() for field, about in each.model_fields.items()}


def documented() -> dict[str, tuple[str, str, str]]:
    """Return each row's default, mark and description."""
    rows = ROW.findall((ROOT / "docs" / "settings.md").read_text())
    names = [name for name, *_ in rows]
    assert len(set(names)) == len(names)
    return {name: (default.strip(), mark, what.strip()) for name, default, mark, what in rows}


def written(default: object) -> str:
    """Return how a default stands in the document."""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        return f"`{int(default)}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    return "" if default in (None, "") else f"`{default}`"


def passed_to(service: dict[str, Any]) -> set[str]:
    return {name for value in service.get("environment", {}).values() for name in PASSED.findall(value or "")}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    files = ("docker-compose.yml", "deploy/compose.outside.yml")
    first, outside = (yaml.safe_load((ROOT / name).read_text())["services"] for name in files)
    return {"first": first, "outside": outside}


def test_every_setting_is_there_and_nothing_else() -> None:
    assert documented().keys() ^ fields().keys() == set()


def test_each_default_is_the_codes() -> None:
    told = documented()
    told_wrongly = {
        name: told[name][0]
        for name, about in fields().items()
        if about.default_factory is None and told[name][0] != written(about.default)
    }
    assert told_wrongly == {}
    assert told["DUBLINE_MODELS_DIR"][0] == f"`~/{default_models_dir().relative_to(Path.home())}`"


@pytest.mark.parametrize(("mark", "file"), [("c", "first"), ("o", "outside")])
def test_what_is_marked_reaches_whoever_reads_it(compose: dict[str, Any], mark: str, file: str) -> None:
    marked = {name for name, (_, its, _) in documented().items() if its == mark} - NOT_ITS_OWN.keys()
    passed: set[str] = set()
    for service, settings in READERS.items():
        own = {name_of(field, about) for field, about in settings.model_fields.items()}
        own -= {name_of(field, about) for field, about in Settings.model_fields.items()}
        given = passed_to(compose[file].get(service, {}))
        assert (marked & own) - given == set(), f"{service} does not get them"
        passed |= given
    assert marked - passed == set()
    assert passed - marked - OF_LIBRARIES == set(), "passed on without a mark"


def test_what_compose_uses_for_itself_is_told_too() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    used = set(PASSED.findall((ROOT / "docker-compose.yml").read_text()))
    assert used >= OF_COMPOSE_ITSELF
    assert [name for name in used if f"`{name}`" not in text] == []
