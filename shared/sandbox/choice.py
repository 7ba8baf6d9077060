"""Which sandbox is used: the first that works of bubblewrap, Landlock with seccomp, and resource limits alone.

Lives here: DUBLINE_SANDBOX, trying a variant for real, and the words about it. Does not live here: the walls.
"""

import functools
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from shared.ffmpeg_binaries import CHILD_ENV
from shared.sandbox import bubblewrap, landlock
from shared.sandbox.errors import SandboxUnavailableError
from shared.sandbox.launch import ResourceLimits, Variant, launching

VARIABLE = "DUBLINE_SANDBOX"
Wanted = Literal["auto", "bwrap", "landlock", "limits"]
TRIAL_LIMITS = ResourceLimits(address_space=4 << 30, cpu_s=30, file_bytes=1 << 20, open_files=64)
TRIAL_TIMEOUT_S = 30.0
INSTALL = (
    "install bubblewrap (`apt-get install bubblewrap`), or use a kernel with Landlock (5.13 or newer); "
    "in a container, an engine whose filter allows Landlock (docs/sandbox.md)"
)


@dataclass(frozen=True)
class Found:
    """The variant in use, and why each better one is not."""

    variant: Variant
    against: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What it is made of, with versions."""
        if self.variant == "bwrap":
            return "bubblewrap and seccomp"
        if self.variant == "landlock":
            return f"Landlock (version {landlock.version()}) and seccomp"
        return "resource limits only: " + "; ".join(self.against or ("as wanted",))


def wanted(environ: Mapping[str, str]) -> Wanted:
    """Return what DUBLINE_SANDBOX asks for. Raises SandboxUnavailableError for a word that means nothing."""
    word = environ.get(VARIABLE) or "auto"
    if word not in get_args(Wanted):
        raise SandboxUnavailableError(f"{VARIABLE} is {word!r}; it may be {', '.join(get_args(Wanted))}")
    return cast("Wanted", word)


@functools.cache
def chosen(wanted: Wanted, programs: tuple[Path, ...]) -> Found:
    """Return the variant to use for these programs; tried once in a process, by running their `-version`.

    Raises SandboxUnavailableError where one is asked for that does not work: nobody gets less than they asked for.
    """
    if wanted == "limits":
        return Found(wanted)
    if wanted != "auto":
        if fault := fault_of(wanted, programs):
            raise SandboxUnavailableError(f"{VARIABLE}={wanted} does not work here: {fault}")
        return Found(wanted)
    against: list[str] = []
    for variant in ("bwrap", "landlock"):
        fault = fault_of(variant, programs)
        if fault is None:
            return Found(variant, tuple(against))
        against.append(f"{variant}: {fault}")
    return Found("limits", tuple(against))


def fault_of(variant: Variant, programs: tuple[Path, ...]) -> str | None:
    """Run `-version` of each program in a variant; return what is wrong with it, or None."""
    if variant == "bwrap" and bubblewrap.find() is None:
        return "bubblewrap is not installed"
    if variant == "landlock" and landlock.version() == 0:
        return f"no Landlock in kernel {platform.release()}, or hidden by a container's filter"
    return next(filter(None, (_trial(variant, program) for program in programs)), None)


def _trial(variant: Variant, program: Path) -> str | None:
    try:
        with launching(variant, program, ["-version"], (), TRIAL_LIMITS) as start:
            done = subprocess.run(
                start.argv, pass_fds=start.fds, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=TRIAL_TIMEOUT_S, env=CHILD_ENV, check=False,
            )  # fmt: skip
    except SandboxUnavailableError as error:
        return str(error)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program.name} does not start in it: {error}"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{program.name} ended with code {done.returncode} in it"
