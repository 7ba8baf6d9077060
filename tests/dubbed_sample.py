"""One system and one dub of the sample, shared by every test that looks at their result."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import Artifact
from shared.manifests import SpeechManifest, Transcript, Translation
from tests.dubbing_system import System, running_system


@dataclass(frozen=True)
class Dub:
    """A finished dub of the sample, English to Portuguese."""

    system: System
    job: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.job["id"])

    @property
    def base(self) -> Path:
        return self.system.base_dir(self.id)

    def manifest(self, name: str) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads((self.base / "manifests" / f"{name}.json").read_text())
        return manifest

    def artifact(self, stage: str, name: str) -> Path:
        outputs = [Artifact.model_validate(output) for output in self.manifest(stage)["outputs"]]
        return self.system.output / next(output.path for output in outputs if output.name == name)

    @property
    def transcript(self) -> Transcript:
        return Transcript.model_validate_json(self.artifact("transcribe", "transcript").read_bytes())

    @property
    def translation(self) -> Translation:
        return Translation.model_validate_json(self.artifact("translate", "translation").read_bytes())

    @property
    def speech(self) -> SpeechManifest:
        return SpeechManifest.model_validate_json(self.artifact("tts", "tts_manifest").read_bytes())


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture(scope="session")
def dub(system: System) -> Dub:
    job = system.finished(system.submit("pt"))
    assert job["state"] == "DONE", job
    return Dub(system, job)
