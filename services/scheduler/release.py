"""The stage command that a release puts on the work queue.

Lives here: gathering what the stage needs, so that a claim costs the worker no read. Does not live here: when
(`policy`).
"""

from services.scheduler.limits import Limits
from services.scheduler.policy import Release
from shared.commands import StageCommand
from shared.job.model import Job
from shared.job.stages import GRAPH


def command_for(job: Job, release: Release, limits: Limits, traceparent: str | None, nonce: int) -> StageCommand:
    """Return the command for a stage, with the outputs and facts of the stages that it depends on.

    `nonce` counts what this scheduler has sent: the broker drops a second message with the same id for two minutes, and
    a command that is sent again must not be taken for the one that was lost.
    """
    needs = frozenset(GRAPH[release.stage])
    causes = [job.stages[need].completed_id for need in GRAPH[release.stage]]
    return StageCommand(
        id=f"{job.id}.{job.run}.{release.stage}.{release.attempt}.{release.version}.{nonce}",
        job_id=job.id,
        run=job.run,
        stage=release.stage,
        attempt=release.attempt,
        pool=release.pool,
        expected=release.expected,
        version=release.version,
        mode=job.mode,
        settings=dict(release.settings),
        avoid=list(release.avoid),
        timeout_s=limits.timeouts_s[release.stage],
        budget_s=limits.budgets_s.get(release.stage),
        job=job.submitted,
        inputs=job.outputs_of(needs),
        facts=job.facts_of(needs),
        correlationid=job.submitted_event_id,
        causationid=next((c for c in reversed(causes) if c), None) or job.submitted_event_id,
        traceparent=traceparent,
    )
