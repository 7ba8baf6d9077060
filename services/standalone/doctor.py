"""`dubline doctor`: every piece that Dubline uses, whether it is usable, and what to do if it is not.

Lives here: the checks and their table. A check changes nothing and takes seconds at most. Does not live here: the
engines' own words on what they miss (`services.worker.engines`).
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from services.standalone.binaries import BROKER, GATEWAY, Binary, BinaryUnusableError, require
from services.worker.capabilities import describe
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import KINDS, Engines
from services.worker.models.manifest import load_lock
from services.worker.models.resolver import is_present
from shared.capabilities import Capabilities
from shared.ffmpeg_binaries import FfmpegMissingError, find_binary, version_text
from shared.sandbox.choice import INSTALL, VARIABLE, chosen, wanted
from shared.sandbox.errors import SandboxUnavailableError
from shared.settings import Settings

MINIMUM_PYTHON = (3, 11)
COMMAND_TIMEOUT_S = 10.0
FEW_LANGUAGES = 8
GIGA = 1e9
MEGA = 1e6
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
FETCH = "run `dubline models fetch`; the engines below say what each of them misses"
KIND_NAMES = {"asr": "speech recognition", "mt": "translation", "tts": "speech synthesis"}


@dataclass(frozen=True)
class Finding:
    """One piece. `detail` says what was found, `remedy` what to do when it is not usable."""

    name: str
    ok: bool
    required: bool
    detail: str
    remedy: str = ""


def examine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Return a finding for every piece, required ones first."""
    findings = [
        _python(),
        _media_tool("ffmpeg", environ),
        _media_tool("ffprobe", environ),
        _sandbox(environ),
        _pinned(BROKER),
        _pinned(GATEWAY),
        *_models(settings),
        *_engines(settings),
        _disk(settings),
        _command(
            "GPU (NVIDIA)",
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            "not needed; with an NVIDIA card and its driver, recognition runs on it",
        ),
        _command(
            "Docker engine",
            ["docker", "version", "--format", "{{.Server.Version}}"],
            "not needed; only docker-compose.yml and the container tests use it",
        ),
        _chromium(),
    ]
    return sorted(findings, key=lambda finding: not finding.required)


def healthy(findings: list[Finding]) -> bool:
    """Return whether nothing that is required is missing."""
    return all(finding.ok for finding in findings if finding.required)


def report(findings: list[Finding], console: Console) -> None:
    """Print the findings as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Piece", "State", "Found, or what to do"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        missing = "[red]MISSING[/red]" if finding.required else "[yellow]not there[/yellow]"
        words = finding.detail if finding.ok else "; ".join(filter(None, (finding.detail, finding.remedy)))
        table.add_row(finding.name, "[green]ok[/green]" if finding.ok else missing, words)
    console.print(table)


def as_json(findings: list[Finding]) -> str:
    """Return the findings as a JSON document."""
    document = {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _python() -> Finding:
    ok = sys.version_info[:2] >= MINIMUM_PYTHON
    return Finding("Python", ok, required=True, detail=platform.python_version(), remedy="install Python 3.11 or newer")


def _media_tool(name: str, environ: Mapping[str, str]) -> Finding:
    try:
        path = find_binary(name, environ)
        words = version_text(path).split()
    except FfmpegMissingError as error:
        return Finding(name, ok=False, required=True, detail=str(error))
    return Finding(name, ok=True, required=True, detail=f"{words[2]} ({path})")


def _sandbox(environ: Mapping[str, str]) -> Finding:
    """What ffmpeg and ffprobe run in. Required only where one is asked for by name: then nothing weaker is used."""
    name = "media sandbox"
    try:
        asked = wanted(environ)
        found = chosen(asked, (find_binary("ffprobe", environ), find_binary("ffmpeg", environ)))
    except FfmpegMissingError as error:
        return Finding(name, ok=False, required=False, detail=str(error))
    except SandboxUnavailableError as error:
        remedy = f"{INSTALL}; or set {VARIABLE}=auto"
        return Finding(name, ok=False, required=True, detail=str(error), remedy=remedy)
    walled = found.variant != "limits" or asked == "limits"
    return Finding(name, ok=walled, required=False, detail=found.words, remedy=INSTALL)


def _pinned(binary: Binary) -> Finding:
    try:
        path = require(binary)
    except BinaryUnusableError as error:
        return Finding(binary.title, ok=False, required=True, detail=str(error))
    return Finding(binary.title, ok=True, required=True, detail=f"{binary.version} ({path})")


def _models(settings: Settings) -> list[Finding]:
    return [
        Finding(
            f"model {model.id}",
            ok=is_present(model, settings.models_dir),
            required=True,
            detail=f"{model.title}, {model.size / MEGA:.0f} MB, {model.licence}",
            remedy="fetch it: `dubline models fetch`",
        )
        for model in load_lock().models
    ]


def _engines(settings: Settings) -> list[Finding]:
    told = describe(Engines.installed(EngineOptions(settings.models_dir)), platform.node(), [])
    findings = [
        Finding(
            f"engine {engine.name} ({KIND_NAMES[engine.kind]})",
            ok=engine.available,
            required=False,
            detail=f"{engine.version}; {', '.join(engine.languages)}" if engine.available else engine.reason,
        )
        for engine in told.engines
    ]
    return findings + [_served(kind, told) for kind in KINDS] + [_pairs(told)]


def _served(kind: str, told: Capabilities) -> Finding:
    usable = [engine.name for engine in told.engines if engine.kind == kind and engine.available]
    detail = ", ".join(usable) or "no engine is usable"
    return Finding(KIND_NAMES[kind], bool(usable), required=True, detail=detail, remedy=FETCH)


def _pairs(told: Capabilities) -> Finding:
    sources: dict[str, list[str]] = {}
    for pair in told.pairs:
        sources.setdefault(pair.target, []).append(pair.source)
    detail = "; ".join(f"into {target}: from {_some(found)}" for target, found in sorted(sources.items()))
    return Finding("language pairs", bool(detail), required=True, detail=detail or "none can be dubbed", remedy=FETCH)


def _some(languages: list[str]) -> str:
    """Name a few languages, count many: the recogniser alone knows about a hundred."""
    return ", ".join(languages) if len(languages) <= FEW_LANGUAGES else f"{len(languages)} languages"


def _disk(settings: Settings) -> Finding:
    directory = settings.layout.data
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free / GIGA
    return Finding(
        "disk space",
        ok=free >= settings.min_free_gb,
        required=True,
        detail=f"{free:.1f} GB free in {directory}",
        remedy=f"free some: jobs are refused below {settings.min_free_gb:g} GB (MIN_FREE_GB)",
    )


def _command(name: str, argv: list[str], remedy: str) -> Finding:
    """Return whether a command answers; its first line is the detail."""
    path = shutil.which(argv[0])
    if path is None:
        return Finding(name, ok=False, required=False, detail=f"no {argv[0]} on PATH", remedy=remedy)
    try:
        done = subprocess.run([path, *argv[1:]], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return Finding(name, ok=False, required=False, detail=f"{argv[0]} gives no answer", remedy=remedy)
    lines = done.stdout.strip().splitlines()
    return Finding(name, ok=bool(lines), required=False, detail=lines[0] if lines else "none", remedy=remedy)


def _chromium() -> Finding:
    paths = [path for name in CHROMIUM_NAMES if (path := shutil.which(name))]
    remedy = "not needed; only the tests of the web page use it: apt-get install chromium"
    detail = str(Path(paths[0])) if paths else "no Chromium on PATH"
    return Finding("Chromium", bool(paths), required=False, detail=detail, remedy=remedy)
