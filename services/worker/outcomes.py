"""What the log says of a claimed stage once it ended. Pure.

Lives here: turning the end of a run into its event. Does not live here: appending it (`claims.commit`).
"""

from dataclasses import dataclass

from services.worker.claims import Claim, attributes
from services.worker.messages import Failed, Finished
from shared.commands import StageCommand
from shared.events.types import (
    Issue,
    StageCompleted,
    StageCompletedData,
    StageEvent,
    StageFailed,
    StageFailedData,
    StageReleased,
    StageReleasedData,
)

BUDGET_EXCEEDED = "budget_exceeded"
NOT_IN_EVENT = {"kind", "loaded_engines"}


@dataclass(frozen=True)
class Stopped:
    """The stage is handed back unfinished."""

    reason: str


Outcome = Finished | Failed | Stopped


def timed_out(command: StageCommand) -> Failed:
    """Return the failure of a stage that took longer than its command allows."""
    message = f"the stage took longer than {command.timeout_s:g} s"
    return Failed(code="stage_timeout", message=message, retryable=True)


def with_budget(outcome: Outcome, command: StageCommand, took_s: float) -> Outcome:
    """Return the outcome, flagged if the stage finished but took longer than its budget."""
    if not isinstance(outcome, Finished) or command.budget_s is None or took_s <= command.budget_s:
        return outcome
    detail = f"{took_s:.0f} s of {command.budget_s:g} s"
    issue = Issue(code=BUDGET_EXCEEDED, stage=command.stage, detail=detail)
    return outcome.model_copy(update={"issues": [*outcome.issues, issue]})


def event_of(claimed: Claim, outcome: Outcome, worker: str) -> StageEvent:
    """Return the event that ends this claim."""
    command = claimed.command
    envelope = attributes(command, worker, claimed.claimed_id)
    identity = {"stage": command.stage, "part": command.part, "attempt": command.attempt}
    match outcome:
        case Stopped():
            return StageReleased(**envelope, data=StageReleasedData(**identity, reason=outcome.reason))
        case Failed():
            return StageFailed(**envelope, data=StageFailedData(**identity, **outcome.model_dump(exclude=NOT_IN_EVENT)))
        case Finished():
            fields = outcome.model_dump(exclude=NOT_IN_EVENT)
            return StageCompleted(**envelope, data=StageCompletedData(**identity, **fields))
