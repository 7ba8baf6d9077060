"""Boards made of events, for tests of the policy."""

from datetime import datetime, timedelta
from typing import Any

from services.scheduler.board import Board
from services.scheduler.limits import Limits
from services.scheduler.policy import Plan, World, plan
from shared.events.runtime import SchedulerTookOver, SchedulerTookOverData, SlotGranted, SlotGrantedData
from shared.events.subjects import event_subject
from shared.events.types import Event, JobStarted
from shared.identity import uuid7
from tests.factories import NOW, context, event, submitted


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


class Log:
    """Appends events to a board as a log would, in order."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.board = Board(limits or Limits())
        self.events: list[tuple[int, str, Event]] = []

    def add(self, *events: Event) -> None:
        for item in events:
            seq = len(self.events) + 1
            subject = event_subject(item)
            self.events.append((seq, subject, item))
            self.board.apply(seq, subject, item)

    def submit(self, job_id: str | None = None, after_s: float = 0.0, **changes: Any) -> str:
        job_id = job_id or uuid7()
        self.add(submitted(job_id, **changes).model_copy(update={"time": at(after_s)}))
        return job_id

    def grant(self, job_id: str, stage: Any = None, run: int = 1) -> None:
        data = SlotGrantedData(job_id=job_id, run=run, stage=stage, epoch=1)
        self.add(SlotGranted(**context("scheduler"), data=data))

    def take_over(self, holder: str = "a") -> None:
        self.add(SchedulerTookOver(**context("scheduler"), data=SchedulerTookOverData(holder=holder)))

    def start(self, job_id: str, after_s: float = 0.0, **data: Any) -> None:
        self.grant(job_id)
        self.add(event(JobStarted, job_id, **data).model_copy(update={"time": at(after_s)}))

    def running(self, job_id: str | None = None, **changes: Any) -> str:
        job_id = self.submit(job_id, **changes)
        self.start(job_id)
        return job_id

    def plan(self, seconds: float = 0.0, **world: Any) -> Plan:
        self.board.queue.tick(at(seconds))
        return plan(self.board, World(at(seconds), **world), {})
