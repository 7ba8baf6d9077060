"""What a program must be able to open to run at all: itself, its loader, its libraries, a source of random numbers.

Lives here: reading the program's header and asking its loader. Does not live here: letting it open them
(`shared.sandbox.bubblewrap`, `shared.sandbox.landlock`).
"""

import functools
import os
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shared.sandbox.errors import SandboxUnavailableError

ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
PT_INTERP = 3
"""elf(5): the program header that names the loader."""
LISTED = re.compile(r"(/\S.*?) \(0x")
"""One library in what `ld.so --list` prints, of glibc and of musl: `name => /path (0xaddress)`."""
LIST_TIMEOUT_S = 30.0
LOADER_CACHE = Path("/etc/ld.so.cache")
RANDOM = Path("/dev/urandom")
"""The pinned build's C++ library ends the program if it cannot open it."""


@dataclass(frozen=True)
class Needs:
    """What is readable in the sandbox; `programs` may be executed too. Directories are those of shared libraries."""

    programs: tuple[Path, ...]
    files: tuple[Path, ...]
    directories: tuple[Path, ...]


@functools.cache
def needs(program: Path) -> Needs:
    """Return what this program needs. Raises SandboxUnavailableError for a script or another machine's program."""
    loader = _loader(program)
    if loader is None:
        return Needs((program,), (RANDOM,), ())
    try:
        told = subprocess.run(
            [loader, "--list", program], capture_output=True, text=True, check=True, timeout=LIST_TIMEOUT_S, env={}
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxUnavailableError(f"the libraries of {program} cannot be listed: {error}") from error
    libraries = [loader, *map(Path, LISTED.findall(told))]
    directories = dict.fromkeys(directory for library in libraries for directory in _on_the_way(library))
    cache = (LOADER_CACHE,) if LOADER_CACHE.exists() else ()
    return Needs((program, loader), (RANDOM, *cache), tuple(directories))


def _loader(program: Path) -> Path | None:
    """Return the loader that a program names, or None for a static one."""
    with program.open("rb") as file:
        head = file.read(64)
        if not head.startswith(ELF64_LITTLE_ENDIAN) or len(head) < 64:
            raise SandboxUnavailableError(
                f"{program} is no 64-bit ELF program, and a script does not run in the sandbox: "
                "name the program itself (FFMPEG_BIN, FFPROBE_BIN), or set DUBLINE_SANDBOX=limits"
            )
        (table,) = struct.unpack_from("<Q", head, 0x20)
        size, count = struct.unpack_from("<HH", head, 0x36)
        for index in range(count):
            file.seek(table + index * size)
            entry = file.read(size)
            if struct.unpack_from("<I", entry)[0] == PT_INTERP:
                (offset,) = struct.unpack_from("<Q", entry, 0x08)
                (length,) = struct.unpack_from("<Q", entry, 0x20)
                file.seek(offset)
                return Path(os.fsdecode(file.read(length).rstrip(b"\0")))
    return None


def _on_the_way(library: Path) -> list[Path]:
    """Return the directory of a library and of everything that its symbolic links pass through."""
    passed = [library.parent]
    while library.is_symlink():
        library = Path(os.path.normpath(library.parent / library.readlink()))
        passed.append(library.parent)
    return passed
