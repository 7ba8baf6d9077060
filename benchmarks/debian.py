"""Programs of Debian for benchmarks, without root: fetched and verified by apt, unpacked below build/debian.

Lives here: fetching. Packages are unpacked, never configured; apt's lists are its own below the same directory, so an
old list of the system's does not matter.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PREFIX = Path(__file__).parents[1] / "build" / "debian"
TIMEOUT_S = 300


class NoPackageError(RuntimeError):
    """A program cannot be had here; the message says why."""


def program(name: str, packages: Sequence[str]) -> tuple[Path, Mapping[str, str]]:
    """Return a program, from PATH or else from Debian's packages, and the environment to run it in.

    Raises NoPackageError.
    """
    if found := shutil.which(name):
        return Path(found), os.environ
    unpacked = _find(name)
    if unpacked is None:
        _fetch(packages)
        unpacked = _find(name)
    if unpacked is None:
        raise NoPackageError(f"{', '.join(packages)} have no {name}")
    libraries = ":".join(str(path) for path in PREFIX.glob("root/usr/lib/*-linux-gnu*"))
    return unpacked, {**os.environ, "LD_LIBRARY_PATH": libraries}


def _find(name: str) -> Path | None:
    return next((path for folder in ("bin", "sbin") if (path := PREFIX / "root/usr" / folder / name).exists()), None)


def _fetch(packages: Sequence[str]) -> None:
    if missing := [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]:
        raise NoPackageError(f"it is not on PATH, and this is no Debian: no {' and no '.join(missing)}")
    print(f"Fetching {', '.join(packages)} into build/debian, once ...")
    state, downloads = PREFIX / "apt", PREFIX / "packages"
    for folder in (state / "lists/partial", state / "cache/archives/partial", downloads, PREFIX / "root"):
        folder.mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        "APT::Update::Post-Invoke": "",
        "APT::Update::Post-Invoke-Success": "",
    }
    apt = ["apt-get", "-q", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "download", *packages], cwd=downloads)
    for package in sorted(downloads.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(PREFIX / "root")])


def _run(argv: Sequence[str], cwd: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoPackageError(f"{argv[0]} failed: {last}")
