"""How `dubline dub` shows a job: a line per stage while it runs, a summary at its end.

Lives here: the shape of the API's answer that the command reads, and words. Pure but for printing. Does not live here:
HTTP (`dub_follow`, `dub`).
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.library.pages.words import issue_words, took

TERMINAL = frozenset({"DONE", "FAILED", "CANCELED"})
BAR_WIDTH = 24
REDRAWS_PER_S = 4


class Read(BaseModel):
    """What the command reads of an answer; a newer server may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StageShown(Read):
    """One stage; `fraction` is there while it runs."""

    stage: str
    status: str
    attempt: int = 0
    started_at: datetime | None = None
    duration_s: float | None = None
    engine: str | None = None
    device: str | None = None
    reused_from: str | None = None
    fraction: float = 0.0
    error: str | None = None

    def seconds(self, now: datetime) -> float | None:
        """Return how long the stage took, or has been running for."""
        if self.status == "claimed" and self.started_at is not None:
            return max(0.0, (now - self.started_at).total_seconds())
        return self.duration_s

    @property
    def words(self) -> str:
        """The state in a word or two."""
        if self.status == "done":
            return {None: "done", "import": "imported"}.get(self.reused_from, "re-used")
        return {"pending": "waiting", "claimed": "running", "released": "handed back"}.get(self.status, self.status)

    @property
    def ran_on(self) -> str:
        return " on ".join(filter(None, (self.engine, self.device))) if not self.reused_from else ""


class IssueShown(Read):
    code: str
    stage: str
    segment: int | None = None
    detail: str = ""

    @property
    def words(self) -> str:
        where = f"line {self.segment + 1}: " if self.segment is not None else ""
        return f"{where}{issue_words(self.code)}" + (f" ({self.detail})" if self.detail else "")


class OutputShown(Read):
    kind: str
    path: str
    url: str
    size_bytes: int


class JobShown(Read):
    id: str
    state: str
    title: str
    tgt_lang: str
    message: str = ""
    created_at: datetime | None = None
    ended_at: datetime | None = None
    error_code: str | None = None
    error: str | None = None
    stages: list[StageShown] = []
    issues: list[IssueShown] = []
    outputs: list[OutputShown] = []

    @property
    def finished(self) -> bool:
        return self.state in TERMINAL

    @property
    def has_video(self) -> bool:
        return any(output.kind in {"mkv", "mp4"} for output in self.outputs)

    def with_fraction(self, stage: str, attempt: int, fraction: float) -> "JobShown":
        """Return the job with live progress laid over; that of an ended or older attempt changes nothing."""
        stages = [
            shown.model_copy(update={"fraction": min(1.0, max(0.0, fraction))})
            if (shown.stage, shown.attempt, shown.status) == (stage, attempt, "claimed")
            else shown
            for shown in self.stages
        ]
        return self.model_copy(update={"stages": stages})


class Display:
    """What is on the screen: redrawn in place on a terminal, one plain line per change elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._console = console
        self._clock = clock
        self._job: JobShown | None = None
        self._note = ""
        self._told: dict[str, str] = {}
        self._live = (
            Live(get_renderable=self._draw, console=console, refresh_per_second=REDRAWS_PER_S, transient=True)
            if console.is_terminal
            else None
        )

    def shown(self) -> AbstractContextManager[object]:
        """Return what keeps the display on the screen."""
        return self._live or nullcontext()

    def update(self, job: JobShown) -> None:
        """Show the job as it is now."""
        self._job = job
        self._note = ""
        if self._live is None:
            self._print_changes(job)

    def note(self, text: str) -> None:
        """Say what is being waited for."""
        if self._live is None and text != self._note:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._note = text

    def _print_changes(self, job: JobShown) -> None:
        for stage in job.stages:
            if stage.status == "pending" or self._told.get(stage.stage) == f"{stage.attempt} {stage.status}":
                continue
            self._told[stage.stage] = f"{stage.attempt} {stage.status}"
            parts = [stage.words, took(stage.duration_s) if stage.status == "done" else "", stage.ran_on]
            if stage.error:
                parts.append(stage.error)
            line = f"{stage.stage}: {', '.join(part for part in parts if part)}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> Group | Text:
        if self._job is None:
            return Text(self._note)
        table = Table.grid(padding=(0, 2))
        now = self._clock()
        for stage in self._job.stages:
            done = 1.0 if stage.status == "done" else stage.fraction
            bar = ProgressBar(total=1.0, completed=done, width=BAR_WIDTH)
            table.add_row(stage.stage, bar, stage.words, took(stage.seconds(now)), stage.ran_on)
        return Group(table, Text(self._note or self._job.message, style="dim"))


class UploadMeter:
    """Tells how much of the file is sent: often on a terminal, once at the end elsewhere."""

    def __init__(self, display: Display, total: int, *, often: bool) -> None:
        self._display = display
        self._total = total
        self._often = often
        self._told_at = 0.0

    def __call__(self, sent: int) -> None:
        now = time.monotonic()
        complete = sent >= self._total
        if (self._often and now - self._told_at >= 1 / REDRAWS_PER_S) or (complete and self._total):
            self._told_at = now
            what = "Sent; the server checks it" if complete else "Sending"
            self._display.note(f"{what}: {sent / 1e6:.1f} of {self._total / 1e6:.1f} MB")


def summary(job: JobShown, server: str, output_root: Path | None) -> list[str]:
    """Return the lines that end the command: outcome, times, issues, where the output is."""
    words = {"DONE": "Done", "FAILED": "Failed", "CANCELED": "Cancelled"}.get(job.state, job.state)
    why = f": {job.error}" if job.error else ""
    lines = [f"{words}: {job.title} → {job.tgt_lang}{why} (job {job.id})"]
    for stage in job.stages:
        if stage.status != "pending":
            columns = (
                f"  {stage.stage:<12}",
                f"{took(stage.duration_s):>10}",
                f"  {stage.words:<8}",
                f"  {stage.ran_on}",
            )
            lines.append("".join(columns).rstrip())
    if job.created_at and job.ended_at:
        lines.append(f"  {'in all':<12}{took((job.ended_at - job.created_at).total_seconds()):>10}")
    if job.issues:
        lines.append(f"{len(job.issues)} to look at:")
        lines += [f"  {issue.words}" for issue in job.issues]
    if job.outputs:
        lines.append("Output:")
        lines += [f"  {_where(output, server, output_root)}" for output in job.outputs]
    return lines


def _where(output: OutputShown, server: str, output_root: Path | None) -> str:
    """Return the absolute path if the server's output folder is here, else the address."""
    if output_root is not None:
        path = (output_root / output.path).absolute()
        if path.is_file() and path.stat().st_size == output.size_bytes:
            return str(path)
    return urljoin(server, output.url)
