"""`dubline library`: arguments and exit codes of verify, reindex, rebuild, import, list, show.

Lives here: the command group. Does not live here: what the commands do (`library_tools`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from services.standalone import library_tools as tools
from services.standalone.cli_common import AsJson, JobId, Server, fail, load_settings, operating, there
from services.standalone.predecessor.importer import Origin
from shared.telemetry import configure_logging

library = typer.Typer(no_args_is_help=True, help="The library: list, show, verify, reindex, rebuild, import.")


@contextmanager
def _working() -> Iterator[None]:
    configure_logging("cli", "WARNING")
    try:
        yield
    except tools.FAILURES as error:
        fail(error)


@library.command("verify")
def library_verify() -> None:
    """Compare the index, the counts and the full text with the rows; exit 1 if anything differs."""
    with _working():
        right = tools.verify(load_settings(), Console(soft_wrap=True))
    if not right:
        raise typer.Exit(1)


@library.command("reindex")
def library_reindex() -> None:
    """Make the index, the counts and the full text anew from the rows."""
    with _working():
        tools.reindex(load_settings(), Console())


@library.command("rebuild")
def library_rebuild(
    *, manifests: Annotated[bool, typer.Option("--manifests", help="Write every job.json anew, too.")] = False
) -> None:
    """Make jobs.db anew from the log while the system runs; pages answer all the while."""
    with _working():
        tools.rebuild_library(load_settings(), Console(), manifests=manifests)


@library.command("import")
def library_import(
    database: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The predecessor's jobs.db.")],
    *,
    output: Annotated[Path | None, typer.Option(help="Its Output folder; else the one that jobs.db lies in.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come over, and write nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Take over the predecessor's finished jobs, presets and projects; may be repeated."""
    origin = Origin(database, output or database.resolve().parent.parent)
    with _working():
        tools.import_jobs(load_settings(), origin, Console(soft_wrap=True), dry_run=dry_run, as_json=json)


@library.command("list")
def library_list(
    *,
    q: Annotated[str, typer.Option("--q", help="Part of an id, a title, a project or a tag.")] = "",
    state: Annotated[str, typer.Option(help="QUEUED, PAUSED, RUNNING, DONE, FAILED or CANCELED.")] = "",
    project: Annotated[str, typer.Option(help="Part of a project's name.")] = "",
    mode: Annotated[str, typer.Option(help="high, medium or low.")] = "",
    tag: Annotated[str, typer.Option(help="One whole tag.")] = "",
    archived: Annotated[bool, typer.Option("--archived", help="Archived jobs, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 25,
    cursor: Annotated[str, typer.Option(help="Where the last page said that more is.")] = "",
    json: AsJson = False,
    server: Server = "",
) -> None:
    """List jobs, newest first, with the filters of the page."""
    given: dict[str, Any] = {"q": q, "state": state, "project": project, "mode": mode, "tag": tag, "cursor": cursor}
    parameters = {name: value for name, value in given.items() if value} | {"limit": limit}
    if archived:
        parameters["include_archived"] = 1
    with operating():
        tools.list_jobs(there(server), Console(), parameters, as_json=json)


@library.command("show")
def library_show(
    job_id: JobId,
    *,
    at: Annotated[str, typer.Option(help="As it was: a sequence of the log, or an RFC 3339 time.")] = "",
    json: AsJson = False,
    server: Server = "",
) -> None:
    """Show one job, its stages and its files."""
    with operating():
        tools.show_job(there(server), Console(), job_id, at or None, as_json=json)
