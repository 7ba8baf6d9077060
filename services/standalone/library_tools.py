"""`dubline library`: checking, repairing and filling the library, and looking into it.

Lives here: what the commands do and print. Does not live here: their arguments and exit codes (`cli_library`).
`verify` and `reindex` work on the file alone, `rebuild` and `import` need a running system (its log), `list` and `show`
ask it over HTTP.
"""

import asyncio
import dataclasses
import json as json_module
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.library.adoption import RebuildRunningError
from services.library.job_manifest import rebuild_manifests
from services.library.jobstore import verify as checks
from services.library.rebuild import rebuild
from services.standalone import run_state
from services.standalone.broker_config import password_file
from services.standalone.predecessor.importer import Origin, Report, run_import
from services.standalone.runtime import Api
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.layout import Layout
from shared.settings import Settings

SHOWN_LEFT = 50
"""Rows of a report that a terminal shows; `--json` has all."""

T = TypeVar("T")


class NoSystemError(Exception):
    """The command needs a running system, and none runs on this data directory."""


def verify(settings: Settings, console: Console) -> bool:
    """Compare the index, the counts and the full text of jobs.db with its rows; print what differs.

    Return whether nothing does. Raises sqlite3.Error, FileNotFoundError.
    """
    report = checks.verify(_existing(settings.layout.jobs_db))
    for line in report.differences:
        console.print(f"[red]differs[/red]: {escape(line)}")
    console.print(f"{report.jobs} jobs: " + ("index, counts and full text are right." if report.ok else "not right."))
    return report.ok


def reindex(settings: Settings, console: Console) -> None:
    """Make the index, the counts and the full text anew from the rows. Raises sqlite3.Error, FileNotFoundError."""
    checks.reindex(_existing(settings.layout.jobs_db))
    console.print("The index was made anew from the rows.")


def rebuild_library(settings: Settings, console: Console, *, manifests: bool) -> None:
    """Project the whole log into a new jobs.db, which the running library takes over, and, if asked, every job.json.

    Raises NoSystemError, LogUnavailableError, sqlite3.Error, OSError.
    """

    async def work(events: EventLog) -> None:
        seq = await rebuild(events, settings.layout.jobs_db)
        console.print(f"jobs.db was rebuilt from the log, up to event {seq}; the library takes it over.")
        if manifests:
            console.print(f"{await rebuild_manifests(events, Layout(settings.data_dir))} job.json files were written.")

    _with_log(settings, "library", work)


def import_jobs(settings: Settings, origin: Origin, console: Console, *, dry_run: bool, as_json: bool) -> Report:
    """Import the predecessor's jobs and print the report. Raises NoSystemError, and what `run_import` raises."""

    def say(line: str) -> None:
        if not as_json:
            console.print(line)

    if dry_run:
        report = asyncio.run(run_import(origin, settings.layout, None, say))
    else:
        report = _with_log(settings, "ingest", lambda events: run_import(origin, settings.layout, events, say))
    if as_json:
        print(json_module.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False))
    else:
        _print_report(report, console, dry_run=dry_run)
    return report


def list_jobs(server: str, console: Console, parameters: dict[str, Any], *, as_json: bool) -> None:
    """Print one page of jobs. Raises RefusedError, UnavailableError."""
    answer = Api(server).get("/api/jobs", parameters)
    if as_json:
        print(answer.text)
        return
    page = answer.json()
    table = Table("job", "state", "title", "project", "tags", "made", box=None)
    for job in page["items"]:
        state = f"{job['state']}{' (archived)' if job['archived'] else ''}"
        made = " ".join(job["outputs_summary"])
        table.add_row(job["id"], state, escape(job["title"]), job["project_name"] or "", " ".join(job["tags"]), made)
    console.print(table)
    console.print(f"{len(page['items'])} of {page['total']} jobs.")
    if page["next_cursor"]:
        console.print(f"More: --cursor {page['next_cursor']}")


def show_job(server: str, console: Console, job_id: str, at: str | None, *, as_json: bool) -> None:
    """Print one job and its files, now or as it was. Raises RefusedError, UnavailableError."""
    api = Api(server)
    answer = api.get(f"/api/jobs/{job_id}", {"at": at} if at else None)
    if as_json:
        print(answer.text)
        return
    job = answer.json()
    console.print(f"{job['title']}: {job['state']}, {job['progress']:.0%}, {job['message']}", markup=False)
    table = Table("stage", "status", "attempt", "seconds", "engine", box=None)
    for stage in job["stages"]:
        seconds = "" if stage["duration_s"] is None else f"{stage['duration_s']:.1f}"
        table.add_row(stage["stage"], stage["status"], str(stage["attempt"]), seconds, stage["engine"] or "")
    console.print(table)
    for file in job["outputs"] if at else api.get(f"/api/jobs/{job_id}/files").json()["files"]:
        console.print(f"{file['kind']}: {file['path']} ({file['size_bytes']} bytes)", markup=False)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}: the library makes it at its first start.")
    return path


def _with_log(settings: Settings, user: str, work: Callable[[EventLog], Awaitable[T]]) -> T:
    """Run against the log of the system that runs on this data directory, as one of the broker's users."""
    state = run_state.read(settings.layout)
    if state is not None:
        settings = settings.model_copy(
            update={
                "nats_url": f"nats://127.0.0.1:{state.ports['nats']}",
                "nats_user": user,
                "nats_password_file": password_file(settings.layout, user),
            }
        )
    elif settings.nats_password_file is None:
        raise NoSystemError("No Dubline runs on this data directory: start it with `dubline up`, its log is needed.")

    async def run() -> T:
        client = await connect(settings, user)
        try:
            return await work(JetStreamEventLog(client))
        finally:
            await client.close()

    return asyncio.run(run())


def _print_report(report: Report, console: Console, *, dry_run: bool) -> None:
    for table, count in report.imported.items():
        here = f", {report.already_here[table]} were here already" if report.already_here[table] else ""
        console.print(f"{table}: {count} {'would be ' if dry_run else ''}imported{here}")
    console.print(f"files: {report.files}" + ("" if dry_run else f" ({report.bytes} bytes)"))
    for title, left in (("skipped", report.skipped), ("left out", report.notes)):
        for item in left[:SHOWN_LEFT]:
            console.print(f"{title}: {item.table} {item.key}: {item.reason}", markup=False)
        if len(left) > SHOWN_LEFT:
            console.print(f"{title}: {len(left) - SHOWN_LEFT} more; --json lists all")


FAILURES = (NoSystemError, RebuildRunningError, LogUnavailableError, sqlite3.Error, OSError, ValueError)
"""What a command may end with; the text of each says what to do."""
