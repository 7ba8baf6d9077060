"""The house rules that `scripts/check_tree.py` enforces."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "check_tree.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_tree", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(check: ModuleType, name: str, text: str) -> list[str]:
    return [what for _, what in check.breaches(name, text.encode())]


def test_a_module_has_at_most_400_lines(check: ModuleType) -> None:
    assert found(check, "a.py", "x = 1\n" * 400) == []
    assert found(check, "a.py", "x = 1\n" * 401) == ["has 401 lines; 400 are allowed"]
    assert found(check, "a.txt", "x = 1\n" * 401) == []


@pytest.mark.parametrize("caught", ["", " Exception", " BaseException as error", " (OSError, Exception)"])
def test_catching_everything_needs_a_re_raise_or_a_reason(check: ModuleType, caught: str) -> None:
    clause = "try:\n    f()\nexcept{}:{}\n    {}\n"
    assert len(found(check, "a.py", clause.format(caught, "", "pass"))) == 1
    assert len(found(check, "a.py", clause.format(caught, "  # noqa: BLE001", "pass"))) == 1
    assert found(check, "a.py", clause.format(caught, "  # noqa: BLE001 -- plugins may raise anything", "pass")) == []
    assert found(check, "a.py", clause.format(caught, "  # a plugin may raise anything", "pass")) == []
    assert found(check, "a.py", clause.format(caught, "", "raise")) == []


def test_catching_something_needs_neither(check: ModuleType) -> None:
    assert found(check, "a.py", "try:\n    f()\nexcept (OSError, ValueError):\n    pass\n") == []


def test_no_file_names_a_registry_or_a_place_on_a_machine(check: ModuleType) -> None:
    for host in check.HOSTS:
        assert found(check, "a.toml", f"url = 'https://{host}/simple'") == [f"names {host}"]
    for place in check.PLACES:
        assert found(check, "a.md", f"see {place}main") == [f"names {place}"]
    assert found(check, "a.py", "output / 'jobs/work/1'; base / f'{x}/work/{y}'") == []
    assert found(check, "a.bin", "\0" + check.HOSTS[0]) == []
