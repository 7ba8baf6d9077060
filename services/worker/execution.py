"""One stage, run in the child process: key, re-use, work, receipt.

Lives here: what is common to all stages. Does not live here: any stage (`services.worker.stages`), or the
process around it (`services.worker.child`).
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from services.worker import reuse
from services.worker.engines.protocols import EngineError
from services.worker.engines.registry import Engines
from services.worker.keys import stage_key
from services.worker.messages import Finished
from services.worker.stages import audio, mix, mux, transcribe, translate, tts
from services.worker.stages.base import StageContext, StageError, StageModule, StageResult
from shared.commands import StageCommand
from shared.events.names import Stage
from shared.events.types import EngineUsed, Issue, Timings
from shared.ffmpeg import Ffmpeg
from shared.job.modes import MADE_SMALLER
from shared.layout import JobPaths, Layout
from shared.manifests import StageManifest
from shared.sealing.format import SealError

STAGES: dict[Stage, StageModule] = {
    "audio": audio,
    "transcribe": transcribe,
    "translate": translate,
    "tts": tts,
    "mix": mix,
    "mux": mux,
}


def execute(
    command: StageCommand, layout: Layout, engines: Engines, ffmpeg: Ffmpeg, progress: Callable[[float, str], None]
) -> Finished:
    """Run a stage or adopt a finished one with the same key. Raises StageError, FfmpegError, OSError."""
    started = time.monotonic()
    stage = STAGES[command.stage]
    paths = layout.job(command.job_id, command.job.base_dir, command.job.stem)
    params = stage.params(command)
    engine = _engine(stage, command, engines)
    key = stage_key(command.stage, command.job.source.sha256, command.inputs, params, engine)
    notes = _notes(stage, command, engines, engine)
    if (found := reuse.find(layout, command, key)) is not None:
        with suppress(FileNotFoundError):  # gone since: its job was deleted, or has ended and keeps less
            return _adopt(found, command, layout, paths, started, notes)

    source = layout.input / command.job.source.path
    _check_inputs(command, layout, source)
    paths.work.mkdir(parents=True, exist_ok=True)
    work_started = time.monotonic()
    context = StageContext(command, layout, paths, source, engines, ffmpeg, progress)
    with context.held:
        result = _run(stage, context)
    load_s = sum(context.loads)
    engine = _engine(stage, command, engines)  # it may have loaded on another device than it had hoped for
    key = stage_key(command.stage, command.job.source.sha256, command.inputs, params, engine)
    timings = Timings(
        load_s=round(load_s, 4),
        engine_s=round(time.monotonic() - work_started - load_s, 4),
        total_s=round(time.monotonic() - started, 4),
    )
    manifest = StageManifest(
        job_id=command.job_id,
        stage=command.stage,
        part=command.part,
        key=key,
        inputs=list(command.inputs.values()),
        params=params,
        engine=engine,
        outputs=result.outputs,
        facts=result.facts,
        issues=result.issues,
        timings=timings,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    reuse.record(layout, command, paths, manifest)
    return _finished(manifest, notes)


def _run(stage: StageModule, context: StageContext) -> StageResult:
    """Run the stage. A sealed file that cannot be opened now cannot be opened by another try: the key is not here."""
    try:
        return stage.run(context)
    except SealError as error:
        raise StageError("sealed_unreadable", str(error)) from error


def _engine(stage: StageModule, command: StageCommand, engines: Engines) -> EngineUsed:
    """Return the engine that the stage will use. Raises StageError `no_engine`: another try finds no other ones."""
    try:
        return stage.engine(command, engines)
    except EngineError as error:
        raise StageError("no_engine", str(error)) from error


def _notes(stage: StageModule, command: StageCommand, engines: Engines, used: EngineUsed) -> list[Issue]:
    """Return what this command, not its result, is worth a person's look for: such issues are not re-used with it."""
    notes = []
    wished = _engine(stage, command.model_copy(update={"avoid": []}), engines).name if command.avoid else used.name
    if wished != used.name:
        detail = f"{used.name} instead of {wished}, which has failed too often lately"
        notes.append(Issue(code="engine_fallback", stage=command.stage, detail=detail))
    if smaller := command.settings.get(MADE_SMALLER):
        notes.append(Issue(code="settings_made_smaller", stage=command.stage, detail=f"out of memory: {smaller}"))
    return notes


def _adopt(
    found: tuple[StageManifest, JobPaths],
    command: StageCommand,
    layout: Layout,
    paths: JobPaths,
    started: float,
    notes: list[Issue],
) -> Finished:
    theirs, their_paths = found
    outputs = reuse.adopt(theirs.outputs, their_paths, paths)
    total_s = round(time.monotonic() - started, 4)
    manifest = theirs.model_copy(
        update={
            "job_id": command.job_id,
            "inputs": list(command.inputs.values()),
            "outputs": outputs,
            "timings": Timings(total_s=total_s),
            "reused_from": theirs.reused_from or theirs.job_id,
        }
    )
    if their_paths.job_id != command.job_id:
        reuse.record(layout, command, paths, manifest)
    return _finished(manifest, notes)


def _finished(manifest: StageManifest, notes: list[Issue]) -> Finished:
    return Finished(
        key=manifest.key,
        outputs=manifest.outputs,
        engine=manifest.engine,
        timings=manifest.timings,
        issues=manifest.issues + notes,
        facts=manifest.facts,
        reused_from=manifest.reused_from,
    )


def _check_inputs(command: StageCommand, layout: Layout, source: Path) -> None:
    if not source.is_file():
        raise StageError("source_missing", "the uploaded video is no longer there")
    for artifact in command.inputs.values():
        if not (layout.output / artifact.path).is_file():
            raise StageError("missing_input", f"artifact {artifact.name} is no longer there")
