"""A job's history in sentences: what each event says to a person. Pure.

Lives here: one sentence for each type of event. Does not live here: the events (`shared.events`), HTML (`templates`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from services.library.pages.words import STAGE_NAMES, VISIBILITY_NAMES, policy_reason

PREFIX = "dubline."

Data = Mapping[str, Any]


def in_words(event: Mapping[str, Any]) -> str:
    """Return what happened, in a sentence; for a type that is unknown here, its name in words."""
    kind = str(event.get("type", "")).removeprefix(PREFIX).rpartition(".v")[0]
    say = SENTENCES.get(kind)
    if say is None:
        return kind.replace(".", " ").replace("_", " ").capitalize()
    return say(event.get("data") or {})


def _stage(data: Data) -> str:
    stage = data.get("stage")
    name = next((words for known, words in STAGE_NAMES.items() if known == stage), str(stage or "A stage"))
    return f"{name}, attempt {data['attempt']}" if data.get("attempt", 1) > 1 else name


def _because(sentence: str) -> Callable[[Data], str]:
    """Return a sentence with the reason behind it, where there is one."""

    def say(data: Data) -> str:
        reason = data.get("reason")
        return f"{sentence}: {reason}" if reason else sentence

    return say


def _claimed(data: Data) -> str:
    return f"{_stage(data)}: started by {data['worker']}" if data.get("worker") else f"{_stage(data)}: started"


def _completed(data: Data) -> str:
    if data.get("reused_from"):
        return f"{_stage(data)}: taken over from an earlier run"
    engine = data.get("engine") or {}
    return f"{_stage(data)}: done with {engine['name']}" if engine.get("name") else f"{_stage(data)}: done"


def _failed(data: Data) -> str:
    again = "; it is tried again" if data.get("retryable") else ""
    return f"{_stage(data)}: failed, {data.get('message') or data.get('code')}{again}"


def _tagged(data: Data) -> str:
    return f"Tags: {', '.join(data['tags'])}" if data.get("tags") else "Tags taken away"


def _started(data: Data) -> str:
    return f"Run {data['run']} started" if data.get("run", 1) > 1 else "Started"


def _lowered(data: Data) -> str:
    return f"Mode lowered from {data.get('from_mode')} to {data.get('to_mode')}: {policy_reason(data['reason'])}"


def _visible(data: Data) -> str:
    return f"Seen by: {VISIBILITY_NAMES.get(data['visibility'], data['visibility'])}"


SENTENCES: dict[str, Callable[[Data], str]] = {
    "job.submitted": lambda data: f"Submitted: {data.get('title')}",
    "job.imported": lambda _: "Taken over from an earlier installation",
    "job.started": _started,
    "job.completed": lambda _: "Done",
    "job.failed": lambda data: f"Failed: {data.get('message') or data.get('code')}",
    "job.pause_requested": _because("Asked to pause"),
    "job.paused": _because("Paused"),
    "job.resumed": _because("Resumed"),
    "job.canceled": _because("Canceled"),
    "job.requeued": _because("Queued again"),
    "job.degraded": _lowered,
    "job.restored": lambda data: f"Mode back to {data.get('mode')}",
    "job.delayed": lambda data: f"Held back: {policy_reason(data['reason'])}",
    "job.reprioritized": lambda data: f"Priority {data.get('priority')}",
    "job.tagged": _tagged,
    "job.archived": lambda _: "Archived",
    "job.unarchived": lambda _: "Taken out of the archive",
    "job.visibility_changed": _visible,
    "job.deleted": lambda _: "Deleted",
    "stage.claimed": _claimed,
    "stage.completed": _completed,
    "stage.failed": _failed,
    "stage.released": lambda data: f"{_stage(data)}: handed back unfinished",
}
