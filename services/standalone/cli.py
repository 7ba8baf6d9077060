"""The `dubline` command.

Lives here: arguments, exit codes, and one line per error. Does not live here: what the commands do (a module each).
Exit codes: 0 done; 1 it failed, or something required is missing; 2 the input or the arguments are refused; 69 no
server answers; 130 Ctrl-C.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.standalone import doctor as doctors
from services.standalone import run_state, runtime
from services.standalone.binaries import BinaryUnusableError
from services.standalone.cli_admin import admin
from services.standalone.cli_common import (
    REFUSED,
    UNAVAILABLE,
    AsJson,
    JobId,
    Server,
    errors,
    fail,
    load_settings,
    operating,
    there,
)
from services.standalone.cli_keys import encryption_key
from services.standalone.cli_library import library
from services.standalone.demo import DemoError, prepare_demo, run_demo
from services.standalone.dub import dub as dub_video
from services.standalone.plan import ConfigurationError, make_plan
from services.standalone.ports import PortInUseError
from services.standalone.supervisor import StartError, Supervisor
from services.standalone.system import System, SystemUnavailableError, running
from services.worker.models.fetch import main as fetch_models
from services.worker.models.manifest import load_lock
from services.worker.models.resolver import is_present

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
models = typer.Typer(no_args_is_help=True, help="The weights of the engines.")
app.add_typer(models, name="models")
operator = typer.Typer(no_args_is_help=True, help="The running system: what it does, its limits and models.")
app.add_typer(operator, name="runtime")
app.add_typer(library, name="library")
app.add_typer(encryption_key, name="encryption-key")
app.add_typer(admin, name="admin")
jobs = typer.Typer(no_args_is_help=True, help="One job: pause, resume, cancel, kill, rerun, priority.")
app.add_typer(jobs, name="job")


class Mode(StrEnum):
    """What `mode` may be."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Device(StrEnum):
    """What `device` may be."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Keep(StrEnum):
    """What `cache_policy` may be."""

    FULL = "full"
    BALANCED = "balanced"
    MINIMAL = "minimal"


@app.command()
def up(*, quiet: Annotated[bool, typer.Option(help="Print only what goes wrong.")] = False) -> None:
    """Run the whole system on http://127.0.0.1:8000 (DUBLINE_PORT) until Ctrl-C."""
    settings = load_settings()
    layout = settings.layout
    started = time.monotonic()

    def say(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    try:
        with run_state.exclusive(layout):
            say(f"Starting Dubline; data in {layout.data}, logs in {layout.logs}")
            if missing := [model.id for model in load_lock().models if not is_present(model, settings.models_dir)]:
                errors.print(f"Without the models {', '.join(missing)} little can be dubbed: `dubline models fetch`.")
            supervisor = Supervisor(make_plan(settings, os.environ), layout, say)
            asyncio.run(supervisor.run())
    except (
        run_state.AlreadyRunningError,
        PortInUseError,
        ConfigurationError,
        BinaryUnusableError,
        StartError,
        OSError,
    ) as error:
        fail(error)
    say(f"Dubline stopped after {time.monotonic() - started:.0f} s.")


@app.command()
def dub(
    video: Annotated[Path, typer.Argument(help="The video to dub.")],
    *,
    to: Annotated[str, typer.Option("--to", help="Language to dub into, for instance pt.")],
    source: Annotated[str, typer.Option("--from", help="Language spoken in the video.")] = "auto",
    mode: Annotated[Mode, typer.Option(help="How much time quality may take.")] = Mode.MEDIUM,
    device: Annotated[Device, typer.Option(help="Where the engines run.")] = Device.AUTO,
    keep: Annotated[Keep | None, typer.Option(help="What outlives the job; else as the server has it.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Keep the result only, and its name nowhere.")] = False,
    server: Server = "",
) -> None:
    """Dub a video, show the progress of every stage, and end with the finished file."""
    if not video.is_file():
        fail(f"{str(video)!r} is not a file.", REFUSED)
    with a_system(server) as system:
        code = dub_video(
            system.url,
            video,
            target=to,
            source=source,
            mode=mode.value,
            device=device.value,
            keep=keep.value if keep else "",
            private=private,
            output_root=system.output_root,
        )
    raise typer.Exit(code)


@app.command()
def demo() -> None:
    """Dub the bundled sample from English into Portuguese."""
    try:
        prepare_demo(load_settings(), Console())
    except DemoError as error:
        fail(error)
    with a_system("") as system:
        code = run_demo(system, Console())
    raise typer.Exit(code)


@contextmanager
def a_system(server: str) -> Iterator[System]:
    """Yield the named server, or the one of this machine."""
    if server:
        yield System(server.rstrip("/"), None)
        return
    try:
        with running(load_settings(), lambda line: errors.print(line, markup=False)) as system:
            yield system
    except SystemUnavailableError as error:
        fail(error, UNAVAILABLE)


@app.command()
def doctor(*, json: Annotated[bool, typer.Option("--json", help="Print a JSON document.")] = False) -> None:
    """Name every piece that Dubline uses, whether it is usable here, and what to do if it is not."""
    findings = doctors.examine(load_settings(), os.environ)
    if json:
        print(doctors.as_json(findings))
    else:
        doctors.report(findings, Console())
    if not doctors.healthy(findings):
        raise typer.Exit(1)


@operator.command("state")
def runtime_state(
    *,
    json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    server: Server = "",
) -> None:
    """What runs, what waits and why, when it should start; limits, workers, failures."""
    with operating():
        runtime.show_state(there(server), Console(), as_json=json, watch=watch)


@operator.command("models")
def runtime_models(*, json: AsJson = False, server: Server = "") -> None:
    """Which worker has which models, and how far prewarming is."""
    with operating():
        runtime.show_models(there(server), Console(), as_json=json)


@operator.command("prewarm")
def runtime_prewarm(
    preset: Annotated[Mode, typer.Argument(help="The mode whose models to fetch and load.")], *, server: Server = ""
) -> None:
    """Let every worker fetch and load the models of a mode before a job needs them."""
    with operating():
        print(runtime.prewarm(there(server), preset.value))


@operator.command("set")
def runtime_set(
    limits: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="An empty VALUE resets a limit.")],
    *,
    server: Server = "",
) -> None:
    """Change limits while the system runs, for instance MAX_CONCURRENCY_GLOBAL=4."""
    with operating():
        print(runtime.set_limits(there(server), limits))


def _job_command(verb: str, help_: str) -> None:
    @jobs.command(verb, help=help_)
    def command(job_id: JobId, *, server: Server = "") -> None:
        with operating():
            print(runtime.control_job(there(server), job_id, verb))


for _verb, _help in {
    "pause": "Keep a queued job from starting, a running one from going on after its stage.",
    "resume": "Let a paused job go on.",
    "cancel": "Cancel a job; its running stage gets a moment to end.",
    "kill": "Cancel a job and kill its running stage at once.",
    "rerun": "Run a finished job again; what is done of it is not done again.",
}.items():
    _job_command(_verb, _help)


@jobs.command("priority")
def job_priority(
    job_id: JobId,
    number: Annotated[int, typer.Argument(metavar="N", min=0, max=1000, help="0 is first; jobs have 100.")],
    *,
    server: Server = "",
) -> None:
    """Give an unfinished job another place in the queue."""
    with operating():
        print(runtime.control_job(there(server), job_id, "priority", number))


@models.command("fetch")
def fetch(
    model: Annotated[list[str] | None, typer.Argument(help="Model ids; all of the default set if none.")] = None,
    *,
    verify: Annotated[bool, typer.Option(help="Hash every file again, even if nothing seems changed.")] = False,
) -> None:
    """Fetch what is missing and verify it by SHA-256."""
    load_settings()
    raise typer.Exit(fetch_models([*(model or []), *(["--verify"] if verify else [])]))


@app.command()
def version() -> None:
    """Print the version."""
    print(f"dubline {package_version('dubline')}")


def main() -> None:
    """Run the command line."""
    app()
