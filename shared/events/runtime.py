"""Event types of the installation itself: who schedules, which slots are given, operators' caps, prewarming.

Lives here: what belongs to no job. Does not live here: a job's events, and the union of all (`types`).
"""

from typing import Literal

from shared.events.envelope import Data, Envelope
from shared.events.names import Mode, Stage


class SchedulerTookOverData(Data):
    holder: str
    """Id of the scheduler process that is the active one from here on."""


class SchedulerTookOver(Envelope):
    """One scheduler became the active one; this event's sequence is its epoch, the fence of its grants."""

    type: Literal["dubline.scheduler.took_over.v1"] = "dubline.scheduler.took_over.v1"
    data: SchedulerTookOverData


class SlotGrantedData(Data):
    """`stage` None grants a job slot (before `started`), else a slot of a capped phase (before its command)."""

    job_id: str
    run: int
    stage: Stage | None = None
    epoch: int


class SlotGranted(Envelope):
    """A slot under a cap is taken: appended on the schedulers' own subject, so that no two can take the last one."""

    type: Literal["dubline.scheduler.granted.v1"] = "dubline.scheduler.granted.v1"
    data: SlotGrantedData


class LimitsChangedData(Data):
    """Caps by their environment name; None takes an override back."""

    overrides: dict[str, int | float | None]
    reason: str = ""


class LimitsChanged(Envelope):
    """An operator changed caps while the system runs."""

    type: Literal["dubline.runtime.limits_changed.v1"] = "dubline.runtime.limits_changed.v1"
    data: LimitsChangedData


class PrewarmRequestedData(Data):
    task: str
    preset: Mode


class PrewarmRequested(Envelope):
    """An operator asked for the models of a mode to be fetched and loaded before the first job needs them."""

    type: Literal["dubline.runtime.prewarm_requested.v1"] = "dubline.runtime.prewarm_requested.v1"
    data: PrewarmRequestedData


class PrewarmProgressedData(Data):
    """One step of a prewarm task on one worker; `model` is empty in the task's last event."""

    task: str
    worker: str
    model: str = ""
    state: Literal["started", "ready", "failed", "finished"]
    detail: str = ""


class PrewarmProgressed(Envelope):
    type: Literal["dubline.runtime.prewarm_progressed.v1"] = "dubline.runtime.prewarm_progressed.v1"
    data: PrewarmProgressedData


SchedulerEvent = SchedulerTookOver | SlotGranted
RuntimeEvent = LimitsChanged | PrewarmRequested | PrewarmProgressed
