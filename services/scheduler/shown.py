"""What one who asks is shown of the running system: an operator of the installation all, anybody else their own jobs.

Lives here: that cut; pure. Counts, caps and the length of the queue are everybody's, since they are why one's own jobs
wait; whose the others are, and which, is not. Does not live here: the answer itself (`view`).
"""

from services.scheduler.board import Board
from shared.access.principal import Principal
from shared.job.model import JobState
from shared.runtime_state import RuntimeState

WAITING = frozenset({JobState.QUEUED, JobState.PAUSED})


def own_waiting(board: Board, who: Principal, limit: int) -> frozenset[str]:
    """Return up to `limit` of one's own waiting jobs, wherever in the queue they stand; the newest first."""
    own = [job for job in board.jobs.values() if job.state in WAITING and job.submitted.owner == who.user]
    own.sort(key=lambda job: job.queued_at, reverse=True)
    return frozenset(job.id for job in own[:limit])


def shown_to(state: RuntimeState, board: Board, who: Principal) -> RuntimeState:
    """Return the state without what is about jobs of others."""
    if who.administers:
        return state

    def own(job_id: str | None) -> bool:
        job = board.jobs.get(job_id) if job_id else None
        return job is not None and job.submitted.owner == who.user

    phases = {job_id: stage for job_id, stage in state.state.active_phase.items() if own(job_id)}
    return state.model_copy(
        update={
            "state": state.state.model_copy(update={"active_phase": phases}),
            "queue": [one for one in state.queue if one.owner == who.user],
            "running": [one for one in state.running if one.owner == who.user],
            "workers": [
                one if one.job_id is None or own(one.job_id) else one.model_copy(update={"job_id": None})
                for one in state.workers
            ],
            "degradations": [one for one in state.degradations if own(one.job_id)],
            "dead_letters": [one for one in state.dead_letters if own(one.job_id)],
            "over_users": [one for one in state.over_users if one.owner == who.user],
        }
    )
