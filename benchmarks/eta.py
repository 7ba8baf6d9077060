"""How far off the expected ends were: of real jobs one after another, and of a simulated busy installation.

Lives here: both series and their figures. The error is the distance between expected and real end, in % of what was
left; an interval held if the real end lay in it (it is meant to do so 80% of the time).

The simulation draws stage times from distributions that the forecast does not know, and plays the real schedule with
them by the rules that the forecast plays its own by; so its figures are about times and their intervals, and leave out
failures and retries.
"""

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.installation import SAMPLE, Installation, installed
from benchmarks.rows import Row
from services.scheduler.eta import Estimate, Speeds
from services.scheduler.forecast import Forecast, Upcoming, forecast
from services.scheduler.limits import Limits
from shared.events.names import Mode, Stage
from shared.events.types import Timings
from shared.ffmpeg import Ffmpeg
from shared.job.stages import GRAPH

CUTS_S = (8, 20, 12, 16)
"""Lengths of the real jobs' videos: about a minute of video, and so a little more of work."""

SEED = 20260101
SERIES = 40
"""Simulated installations per number of finished jobs; each has its own true speeds."""
LEARNED_JOBS = (1, 5, 30)
QUEUE = 20
TRUE_FACTOR: dict[Stage, float] = {
    "audio": 0.02,
    "transcribe": 0.26,
    "translate": 0.02,
    "tts": 0.64,
    "mix": 0.07,
    "mux": 0.1,
}
MODE_FACTOR: dict[Mode, float] = {"high": 2.2, "medium": 1.0, "low": 0.6}
FIXED_S = 0.4
LOAD_S: dict[Stage, float] = {"transcribe": 3.0, "tts": 5.0}
COLD_SHARE = 0.15
JOB_SIGMA = 0.15
STAGE_SIGMA = 0.2
"""Log-normal noise: what a job's stages share (much speech, a busy machine) and what is each stage's own."""


@dataclass(frozen=True)
class Outcome:
    """What one expected end came to; `start_held` None where there was no start to expect."""

    error: float
    held: bool
    start_held: bool | None = None


def rows(directory: Path) -> Iterator[Row]:
    """Yield the figures of the real series, then those of the simulated one."""
    real = _real(directory)
    yield Row(f"expected end, {len(real)} real jobs alone: median error", _median_error(real), "%")
    yield Row(f"expected end, {len(real)} real jobs alone: interval held", _held(real), "%", "80 meant")
    yield from simulated_rows()


def simulated_rows() -> Iterator[Row]:
    """Yield the figures of queues forecast after few and many finished jobs."""
    for learned in LEARNED_JOBS:
        chance = random.Random(SEED + learned)
        outcomes = [outcome for _ in range(SERIES) for outcome in _simulated(chance, learned)]
        starts = [outcome.start_held for outcome in outcomes if outcome.start_held is not None]
        series = f"simulated queue of {QUEUE}, finished before: {learned}"
        yield Row(f"expected end, {series}: median error", _median_error(outcomes), "%")
        yield Row(f"expected end, {series}: interval held", _held(outcomes), "%", "80 meant")
        yield Row(f"expected start, {series}: interval held", 100 * statistics.fmean(starts), "%", "80 meant")


def _median_error(outcomes: Sequence[Outcome]) -> float:
    return 100 * statistics.median(abs(outcome.error) for outcome in outcomes)


def _held(outcomes: Sequence[Outcome]) -> float:
    return 100 * statistics.fmean(outcome.held for outcome in outcomes)


def _real(directory: Path) -> list[Outcome]:
    """Every job but the first is forecast from those before it."""
    speeds = Speeds()
    outcomes = []
    with installed(directory) as system:
        for number, seconds in enumerate(CUTS_S):
            job, expected = _dubbed(system, _cut(directory, seconds), speeds)
            if number:
                outcomes.append(_outcome(expected, _time(job["created_at"]), _time(job["ended_at"])))
            for stage in job["stages"]:
                timings = Timings(load_s=stage["load_s"], total_s=stage["total_s"])
                speeds.learn(stage["stage"], stage["engine"], stage["device"], job["mode"], job["duration_s"], timings)
    return outcomes


def _dubbed(system: Installation, video: Path, speeds: Speeds) -> tuple[dict[str, Any], Forecast]:
    system.forget_takes()
    job = system.finished(system.submit(video))
    stages = [(stage, speeds.estimate(stage, job["mode"], "cpu", job["duration_s"])) for stage in GRAPH]
    upcoming = Upcoming(job["id"], job["owner_id"], job["mode"], stages)
    return job, forecast([], [upcoming], Limits(), _time(job["created_at"]))[upcoming.job_id]


def _cut(directory: Path, seconds: int) -> Path:
    path = directory / f"sample-{seconds}.mp4"
    Ffmpeg.find().run(["-i", f"file:{SAMPLE}", "-t", str(seconds), "-c", "copy", "-f", "mp4", f"file:{path}"])
    return path


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class _Installation:
    """True speeds that nobody is told."""

    factor: dict[Stage, float]

    @classmethod
    def drawn(cls, chance: random.Random) -> "_Installation":
        machine = chance.lognormvariate(0, 0.5)
        return cls({stage: machine * factor * chance.lognormvariate(0, 0.3) for stage, factor in TRUE_FACTOR.items()})

    def run(self, chance: random.Random, mode: Mode, media_s: float) -> dict[Stage, Timings]:
        """Return what the stages of one job take."""
        common = chance.gauss(0, JOB_SIGMA)
        taken = {}
        for stage, factor in self.factor.items():
            noise = math.exp(common + chance.gauss(0, STAGE_SIGMA))
            load_s = LOAD_S.get(stage, 0.0) if chance.random() < COLD_SHARE else 0.0
            work_s = FIXED_S + factor * MODE_FACTOR[mode] * media_s * noise
            taken[stage] = Timings(load_s=load_s, total_s=load_s + work_s)
        return taken


def _simulated(chance: random.Random, learned: int) -> Iterator[Outcome]:
    truth = _Installation.drawn(chance)
    speeds = Speeds()
    for _ in range(learned):
        mode, media_s = _video(chance)
        for stage, timings in truth.run(chance, mode, media_s).items():
            speeds.learn(stage, "engine", "cpu", mode, media_s, timings)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    expected, real = [], []
    for number in range(QUEUE):
        mode, media_s = _video(chance)
        taken = {stage: timings.total_s for stage, timings in truth.run(chance, mode, media_s).items()}
        guesses = [(stage, speeds.estimate(stage, mode, "cpu", media_s)) for stage in GRAPH]
        facts = [(stage, Estimate(taken[stage], taken[stage], taken[stage], 1)) for stage in GRAPH]
        expected.append(Upcoming(str(number), "owner", mode, guesses))
        real.append(Upcoming(str(number), "owner", mode, facts))
    happened = forecast([], real, Limits(), now)
    for job_id, guess in forecast([], expected, Limits(), now).items():
        yield _outcome(guess, now, happened[job_id].end, happened[job_id].start)


def _video(chance: random.Random) -> tuple[Mode, float]:
    """A mode, mostly medium, and a length, mostly minutes: 95% between half a minute and three quarters of an hour."""
    mode: Mode = chance.choices(("high", "medium", "low"), (1, 4, 1))[0]
    return mode, chance.lognormvariate(math.log(300), 1.1)


def _outcome(expected: Forecast, now: datetime, ended: datetime, started: datetime | None = None) -> Outcome:
    left = max(ended - now, timedelta(seconds=1))
    start_held = None
    if expected.start_low is not None and expected.start_high is not None and started is not None and started > now:
        start_held = expected.start_low <= started <= expected.start_high
    return Outcome((expected.end - ended) / left, expected.end_low <= ended <= expected.end_high, start_held)
