"""What a submission would take, told before anything starts.

Lives here: asking the scheduler, and what is known without it: the space on the disk, and the engines. Does not live
here: how long stages take and what would be admitted (`services.scheduler`), and the route (`routes.estimate`).
"""

from collections.abc import Iterable

from pydantic import ValidationError

from services.ingest.bus import RETRY_AFTER_S, Bus
from services.ingest.fields import AUTO, Submission
from services.ingest.imports.reading import Imported
from shared.capabilities import Capabilities
from shared.events.names import Stage
from shared.events.subjects import SCHEDULER_ESTIMATE
from shared.problems import Problem
from shared.runtime_state import EstimateAnswer, EstimateRequest

ANSWER_S = 2.0

SOURCE_COPIES = 3
"""The source itself, and its picture in the mkv and in the mp4 of the dub."""
WORK_BYTES_PER_S = 16_000 * 2 + 48_000 * 4 + 48_000 * 4 * 2
"""The recogniser's sound (16 kHz, 16 bits), the dialogue track (48 kHz, mono, float) and the mix (stereo, float)."""
SPEECH_BYTES_PER_S = 24_000 * 3
"""Spoken lines in the owner's cache: mono, 24 bits, at the rate of most voices."""
SOUND_BYTES_PER_S = 2 * 192_000 // 8
"""The encoded dub in both finished files."""


def imported_stages(imported: Imported) -> list[Stage]:
    """Return the stages that would not run."""
    if imported.target:
        return ["transcribe", "translate"]
    return ["transcribe"] if imported.source else []


def disk_bytes(size: int, duration_s: float) -> int:
    """Return about how many bytes a job of this source leaves on the disk, its source included; subtitles are small."""
    return SOURCE_COPIES * size + int(duration_s * (WORK_BYTES_PER_S + SPEECH_BYTES_PER_S + SOUND_BYTES_PER_S))


def engines_for(workers: Iterable[Capabilities], fields: Submission, imported: Imported) -> dict[str, list[str]]:
    """Return which usable engines could run, by what they do, best known to the workers; `mt` is the pair's route.

    Where the source language is not known yet, `mt` has the routes of all pairs into the target.
    """
    found: dict[str, dict[str, None]] = {"asr": {}, "mt": {}, "tts": {}}
    for worker in workers:
        for engine in worker.engines:
            speaks = not engine.languages or fields.tgt_lang in engine.languages
            if engine.available and (engine.kind == "asr" or (engine.kind == "tts" and speaks)):
                found[engine.kind][engine.name] = None
        for pair in worker.pairs:
            if pair.target == fields.tgt_lang and fields.src_lang in (AUTO, pair.source):
                found["mt"] |= dict.fromkeys(pair.route)
    if imported:
        found["asr"] = {}
    if imported.target:
        found["mt"] = {}
    return {kind: list(names) for kind, names in found.items()}


async def ask_estimate(bus: Bus, request: EstimateRequest) -> EstimateAnswer:
    """Return the scheduler's answer. Raises Problem 503 without one, LogUnavailableError."""
    raw = await bus.ask(SCHEDULER_ESTIMATE, request.model_dump_json().encode(), ANSWER_S)
    try:
        if raw is not None:
            return EstimateAnswer.model_validate_json(raw)
    except ValidationError:
        pass  # of another version
    detail = "The scheduler does not answer, so nothing can be told. Try again in a few seconds."
    raise Problem(503, "scheduler_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
