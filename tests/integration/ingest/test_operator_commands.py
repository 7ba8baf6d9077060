"""`dubline job` and `dubline runtime` as an operator types them: what they do, what they say, how they end."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.runtime import LimitsChanged, PrewarmRequested
from shared.events.subjects import RUNTIME_LIMITS, RUNTIME_MODELS, job_filter
from shared.events.types import JobCanceled, JobCompleted, JobStarted
from shared.identity import uuid7
from tests.broker import free_port
from tests.factories import event, submitted
from tests.integration.ingest.service import Ingest

DUBLINE = Path(sys.executable).parent / "dubline"


async def dubline(server: str, *arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code, and what it said on one line."""
    command = [DUBLINE, *arguments, "--server", server]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


async def test_a_job_is_paused_killed_and_run_again(ingest: Ingest, log: JetStreamEventLog) -> None:
    job = uuid7()
    await log.append(submitted(job))
    await log.append(event(JobStarted, job))
    assert await dubline(ingest.url, "job", "priority", job, "7") == (0, f"Job {job} is RUNNING, priority 7.")
    code, said = await dubline(ingest.url, "job", "pause", job)
    assert (code, said) == (0, f"Job {job} is RUNNING, it pauses when its running stage has ended.")
    assert await dubline(ingest.url, "job", "kill", job) == (0, f"Job {job} is CANCELED.")
    stored = await log.last(job_filter(job))
    assert stored is not None
    assert isinstance(stored.event, JobCanceled)
    assert stored.event.data.kill
    assert await dubline(ingest.url, "job", "rerun", job) == (0, f"Job {job} is QUEUED, run 2.")


async def test_what_a_job_does_not_allow_is_a_failure_with_its_reason(ingest: Ingest, log: JetStreamEventLog) -> None:
    job = uuid7()
    for what in (submitted(job), event(JobStarted, job), event(JobCompleted, job)):
        await log.append(what)
    assert await dubline(ingest.url, "job", "cancel", job) == (1, "error: A job in state DONE cannot be cancelled.")


@pytest.mark.parametrize("job", ["0192f0c1-2b3c-7d4e-8f50-61728394a5b6", "../../readyz"])
async def test_a_job_that_is_none_is_refused(ingest: Ingest, job: str) -> None:
    code, said = await dubline(ingest.url, "job", "cancel", job)
    assert (code, said.startswith("error: ")) == (2, True)


async def test_limits_are_set_and_reset(ingest: Ingest, log: JetStreamEventLog) -> None:
    code, said = await dubline(ingest.url, "runtime", "set", "MAX_JOBS_HIGH=1", "min_free_gb=2.5")
    assert (code, said) == (0, "Overridden now: MAX_JOBS_HIGH=1, MIN_FREE_GB=2.5")
    assert (await dubline(ingest.url, "runtime", "set", "MAX_JOBS_HIGH=", "MIN_FREE_GB="))[1] == (
        "No limit is overridden now."
    )
    stored = await log.last(RUNTIME_LIMITS)
    assert stored is not None
    assert isinstance(stored.event, LimitsChanged)
    assert stored.event.data.overrides == {"MAX_JOBS_HIGH": None, "MIN_FREE_GB": None}


@pytest.mark.parametrize("limit", ["MAX_JOBS_HIGH", "MAX_JOBS_HIGH=many", "NO_SUCH=1"])
async def test_what_is_no_limit_is_refused(ingest: Ingest, limit: str) -> None:
    code, said = await dubline(ingest.url, "runtime", "set", limit)
    assert (code, said.startswith("error: ")) == (2, True)


async def test_prewarming_is_asked_for(ingest: Ingest, log: JetStreamEventLog) -> None:
    code, said = await dubline(ingest.url, "runtime", "prewarm", "low")
    stored = await log.last(RUNTIME_MODELS)
    assert stored is not None
    assert isinstance(stored.event, PrewarmRequested)
    assert (code, stored.event.data.preset, stored.event.data.task in said) == (0, "low", True)


@pytest.mark.parametrize("arguments", [("state",), ("set", "MAX_JOBS_HIGH=1")])
async def test_without_a_server_the_command_says_so(arguments: tuple[str, ...]) -> None:
    code, said = await dubline(f"http://127.0.0.1:{free_port()}", "runtime", *arguments)
    assert (code, "does not answer" in said) == (69, True)
