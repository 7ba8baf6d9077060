"""The published contract: JSON Schemas of all events and files, and an AsyncAPI 3 document.

Lives here: generation from the models, and the rule that a published schema changes only by addition.
`python -m shared.events.schemas docs` writes them and refuses a breaking change.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shared import manifests
from shared.commands import StageCommand
from shared.events.access import AuditRecorded, UploadEvent, UserSettingsSaved
from shared.events.envelope import SCHEMA_BASE
from shared.events.library import CurationEvent, PresetEvent, ProjectEvent, WebhookEvent
from shared.events.policy import PolicyEvent
from shared.events.subjects import EVENT_STREAM
from shared.events.types import EVENT_TYPES, LifecycleEvent, StageEvent
from shared.telemetry import Heartbeat, Progress

Json = dict[str, Any]
STAGE_EVENTS = StageEvent.__args__
FILES: dict[str, type[BaseModel]] = {
    "job-manifest.v1": manifests.JobManifest,
    "stage-manifest.v1": manifests.StageManifest,
    "transcript.v1": manifests.Transcript,
    "translation.v1": manifests.Translation,
    "speech-manifest.v1": manifests.SpeechManifest,
}
MESSAGES: dict[str, type[BaseModel]] = {
    "stage-command.v1": StageCommand,
    "progress.v1": Progress,
    "heartbeat.v1": Heartbeat,
}


class BreakingChangeError(Exception):
    """A published schema would change in a way that old readers or old data do not survive."""


def type_of(model: type[BaseModel]) -> str:
    """Return the CloudEvents type of an event model."""
    return str(model.model_fields["type"].default)


def schemas() -> dict[str, Json]:
    """Return every published schema by name: events by their type, files and messages by name and version."""
    named = {type_of(model): model for model in EVENT_TYPES} | FILES | MESSAGES
    return {name: _schema(name, model) for name, model in named.items()}


def _schema(name: str, model: type[BaseModel]) -> Json:
    schema = model.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_BASE + name} | schema


def asyncapi() -> Json:
    """Return the AsyncAPI 3 document of what a consumer with read-only credentials can follow."""
    channels = {
        "jobLifecycle": ("dub.evt.job.{jobId}.lifecycle", LifecycleEvent.__args__),
        "jobPolicy": ("dub.evt.job.{jobId}.policy", PolicyEvent.__args__),
        "jobLibrary": ("dub.evt.job.{jobId}.library", CurationEvent.__args__),
        "jobStage": ("dub.evt.job.{jobId}.stage.{stage}.{part}", STAGE_EVENTS),
        "project": ("dub.evt.project.{projectId}", ProjectEvent.__args__),
        "preset": ("dub.evt.preset.{presetId}", PresetEvent.__args__),
        "webhook": ("dub.evt.webhook.{webhookId}", WebhookEvent.__args__),
        "upload": ("dub.evt.upload.{uploadId}", UploadEvent.__args__),
        "settings": ("dub.evt.settings.{userId}", (UserSettingsSaved,)),
        "audit": ("dub.evt.audit.{actor}", (AuditRecorded,)),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Dubline events",
            "version": "1.0.0",
            "description": f"The event log, JetStream stream {EVENT_STREAM}. See events.md for how to follow it.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            name: {
                "address": address,
                "parameters": {key: {} for key in _parameters(address)},
                "messages": {type_of(model): {"$ref": f"#/components/messages/{type_of(model)}"} for model in models},
            }
            for name, (address, models) in channels.items()
        },
        "operations": {
            f"follow{name[0].upper()}{name[1:]}": {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}}
            for name in channels
        },
        "components": {
            "messages": {
                type_of(model): {
                    "name": type_of(model),
                    "summary": (model.__doc__ or type_of(model)).strip().split("\n")[0],
                    "payload": {"$ref": f"schemas/{type_of(model)}.json"},
                }
                for model in EVENT_TYPES
            }
        },
    }


def _parameters(address: str) -> Iterator[str]:
    return (token[1:-1] for token in address.split(".") if token.startswith("{"))


def breaking_changes(old: Json, new: Json) -> list[str]:
    """Return what an old reader, or a new reader of old data, would not survive; empty if only additions were made."""
    return list(_breaks("", old, new, old.get("$defs", {}), new.get("$defs", {})))


def _breaks(path: str, old: Json, new: Json, old_defs: Json, new_defs: Json) -> Iterator[str]:
    old, new = _resolved(old, old_defs), _resolved(new, new_defs)
    for keyword in ("type", "const", "format"):
        if old.get(keyword) != new.get(keyword):
            yield f"{path or '/'}: {keyword} was {old.get(keyword)!r}, is {new.get(keyword)!r}"
    if "enum" in old and not set(old["enum"]) <= set(new.get("enum", [])):
        yield f"{path or '/'}: a value was taken out of its enum"
    yield from (
        f"{path}/{name}: is newly required" for name in set(new.get("required", [])) - set(old.get("required", []))
    )
    for name, part in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{path}/{name}: was removed"
        else:
            yield from _breaks(f"{path}/{name}", part, new["properties"][name], old_defs, new_defs)
    if "items" in old and "items" in new:
        yield from _breaks(f"{path}[]", old["items"], new["items"], old_defs, new_defs)
    if len(old.get("anyOf", [])) > len(new.get("anyOf", [])):
        yield f"{path}: an alternative was removed"


def _resolved(schema: Json, defs: Json) -> Json:
    reference = schema.get("$ref")
    return defs[reference.rsplit("/", 1)[1]] if reference else schema


def encode(document: Json) -> str:
    """Return the stable text of a document."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def write(docs: Path) -> None:
    """Write every schema and the AsyncAPI document below `docs`. Raises BreakingChangeError, OSError."""
    directory = docs / "schemas"
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        path = directory / f"{name}.json"
        if path.exists() and (breaks := breaking_changes(json.loads(path.read_text()), schema)):
            raise BreakingChangeError(f"{name} needs a new version: {'; '.join(breaks)}")
        path.write_text(encode(schema))
    (docs / "asyncapi.json").write_text(encode(asyncapi()))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
