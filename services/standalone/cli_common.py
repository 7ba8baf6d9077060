"""What the groups of the `dubline` command share: exit codes, settings, options, and one line per error.

Lives here: those. Does not live here: any command (`cli`, `cli_library`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from services.scheduler.settings import SchedulerSettings
from services.standalone import runtime
from services.standalone.dub import EX_INTERRUPTED, RefusedError, UnavailableError
from services.standalone.system import SystemUnavailableError, find_running
from shared.settings import Settings

REFUSED = 2
UNAVAILABLE = 69
"""sysexits.h: a service is unavailable."""

Server = Annotated[str, typer.Option(help="A running Dubline; else DUBLINE_URL, else this machine's.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer as it is.")]

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: object, code: int = 1) -> NoReturn:
    """End with one clear message."""
    errors.print("[red]error[/red]:", escape(str(message)))
    raise typer.Exit(code)


def load_settings() -> Settings:
    """Return the settings of the environment, or end with the variable that makes no sense."""
    try:
        SchedulerSettings()  # read by a service that starts later, and named here as well as there
        return Settings()
    except ValidationError as error:
        wrong = (f"{_variable(str(part['loc'][0]))}={part['input']}: {part['msg']}" for part in error.errors())
        fail("; ".join(wrong), REFUSED)


def _variable(location: str) -> str:
    return location if location.isupper() else f"DUBLINE_{location.upper()}"


def there(server: str) -> str:
    """Return the address of a Dubline that runs already: these commands start none."""
    if server:
        return server.rstrip("/")
    try:
        url = find_running(load_settings())
    except SystemUnavailableError as error:
        fail(error, UNAVAILABLE)
    if url is None:
        fail("No Dubline runs here. Start it with `dubline up`, or name another with --server.", UNAVAILABLE)
    return url


@contextmanager
def operating() -> Iterator[None]:
    """End with the exit code of what went wrong."""
    try:
        yield
    except RefusedError as error:
        fail(error, REFUSED)
    except UnavailableError as error:
        fail(error, UNAVAILABLE)
    except runtime.ConflictError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(EX_INTERRUPTED) from None
