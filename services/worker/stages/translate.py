"""The translate stage: every segment of the transcript into the target language, along the cheapest route.

Lives here: choosing the route among usable engines, running it step by step, and what becomes of a segment that no
engine can translate. Does not live here: the graph (`engines.routes`), laying a recogniser's English onto segments
(`dubbing.alignment`), subtitles (the mux stage).

In:  `transcript` (transcript.json), and `asr_audio` (16 kHz mono WAV) if the route starts by listening.
Out: `translation` (translation.json).
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import soundfile

from services.worker.dubbing.alignment import Timed, onto_segments
from services.worker.engines.protocols import ASR_SAMPLE_RATE, AsrEngine, Engine, EngineError, MtEngine, MtText
from services.worker.engines.registry import Engines, engine_used
from services.worker.engines.routes import Route, Step, cheapest, usable_steps
from services.worker.engines.takes import is_speakable
from services.worker.stages.base import Fact, StageContext, StageError, StageResult, device_of, setting, working
from shared.artifacts import describe
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.job.model import OUT_OF_MEMORY
from shared.manifests import Segment, Transcript, TranslatedSegment, Translation

AUTO = "auto"


@dataclass
class Line:
    """One segment on its way: `text` is in the language reached so far, or the source's once `failed`."""

    segment: Segment
    text: str
    unknown_words: int = 0
    failed: bool = False


@dataclass(frozen=True)
class Translators:
    """The usable engines of this worker by name, and the one that listens, if there is one."""

    texts: dict[str, MtEngine]
    listening: AsrEngine | None
    avoid: Collection[str] = ()

    @classmethod
    def usable(cls, command: StageCommand, engines: Engines) -> "Translators":
        """Return them for a command's settings."""
        device = device_of(command)
        try:
            listening = engines.asr(device, model=str(setting(command, "asr_model")), avoid=command.avoid)
        except EngineError:
            listening = None
        return cls({engine.name: engine for engine in engines.mt(device)}, listening, command.avoid)

    def route(self, source: str, target: str) -> Route:
        """Return the best route, around engines to avoid if there is one.

        Raises StageError `same_language` or `unsupported_pair`.
        """
        if source == target:
            raise StageError("same_language", f"the video is already in {source!r}: choose another target language")
        steps = usable_steps(self.texts.values(), self.listening)
        around = cheapest([step for step in steps if step.engine not in self.avoid], source)
        routes = around if target in around else cheapest(steps, source)
        if target not in routes:
            reachable = ", ".join(routes) or "none"
            raise StageError(
                "unsupported_pair",
                f"no engine here translates {source!r} to {target!r}; from {source!r} it can go to: {reachable}",
            )
        return routes[target]

    def engine(self, step: Step) -> Engine:
        """Return the engine that takes a step."""
        if step.hears:
            assert self.listening is not None
            return self.listening
        return self.texts[step.engine]


def params(command: StageCommand) -> dict[str, Fact]:
    """Return the two languages; the source is the one that the transcribe stage found if the job says `auto`."""
    return {"src": _source_language(command), "tgt": command.job.tgt_lang}


def engine(command: StageCommand, engines: Engines) -> EngineUsed:
    """Return the engines of the route as one, with a digest over all of them. Raises StageError as `run` does."""
    translators = Translators.usable(command, engines)
    route = translators.route(_source_language(command), command.job.tgt_lang)
    used = [engine_used(translators.engine(step)) for step in route.steps]
    material = [*route.names(), *(part for one in used for part in (one.name, one.version, one.digest))]
    if any(step.hears for step in route.steps):  # of no matter to a route of texts
        material.append(f"beam {setting(command, 'asr_beam')}")
    return EngineUsed(
        name="+".join(one.name for one in used),
        version="+".join(one.version for one in used),
        device="cuda" if any(one.device == "cuda" for one in used) else "cpu",
        digest=hashlib.sha256("\n".join(material).encode()).hexdigest(),
    )


def run(context: StageContext) -> StageResult:
    """Translate the transcript. Raises StageError if no route exists, an engine cannot load, or nothing succeeds."""
    transcript = Transcript.model_validate_json(context.input("transcript").read_bytes())
    target = context.command.job.tgt_lang
    translators = Translators.usable(context.command, context.engines)
    route = translators.route(transcript.language, target)
    lines = [Line(segment, segment.text.strip()) for segment in transcript.segments]
    for number, step in enumerate(route.steps):
        taking = translators.engine(step)
        context.load(taking)
        _take(step, translators, lines, context, _part_of(context, number, len(route.steps), str(step)))
        if lines and all(line.failed for line in lines):
            reason = f"no segment could be translated by {', '.join(route.names())}"
            raise StageError("translation_failed", reason, retryable=True, engine=taking.name)
    translation = Translation(
        source_language=transcript.language,
        target_language=target,
        route=route.names(),
        segments=[_translated(line) for line in lines],
    )
    translation.write(context.paths.translation)
    return StageResult(
        outputs=[describe("translation", context.paths.translation, context.paths.output_root)],
        facts={"translation_route": " ".join(route.names()), "translated_segments": _count(lines)},
        issues=[issue for line in lines for issue in _issues(line)],
    )


def translate_lines(
    engine: MtEngine, lines: Sequence[Line], source: str, target: str, progress: Callable[[float], None], size: int
) -> None:
    """Take the lines one step further, in batches of `size`. A line that the engine cannot translate is marked."""
    waiting = [line for line in lines if not line.failed and is_speakable(line.text)]
    for start in range(0, len(waiting), size):
        batch = waiting[start : start + size]
        for line, done in zip(batch, _batch(engine, [line.text for line in batch], source, target), strict=True):
            if done is None or not is_speakable(done.text):
                line.text, line.failed = line.segment.text.strip(), True
            else:
                line.text = done.text
                line.unknown_words = max(line.unknown_words, len(done.unknown_words))
        progress((start + len(batch)) / len(waiting))


def _batch(engine: MtEngine, texts: list[str], source: str, target: str) -> list[MtText | None]:
    """Return the translations; if the batch fails, each text gets a try of its own, and None if that fails too.

    Raises StageError `out_of_memory`: the whole stage is then tried again with smaller batches.
    """
    try:
        with working(engine):
            return [*engine.translate(texts, source, target)]
    except StageError as error:
        if error.code == OUT_OF_MEMORY:
            raise
        if len(texts) == 1:
            return [None]
        return [done for text in texts for done in _batch(engine, [text], source, target)]


def _take(
    step: Step, translators: Translators, lines: list[Line], context: StageContext, progress: Callable[[float], None]
) -> None:
    if step.hears:
        assert translators.listening is not None
        _listen(translators.listening, lines, context, step.source, progress)
    else:
        size = int(setting(context.command, "mt_batch"))
        translate_lines(translators.texts[step.engine], lines, step.source, step.target, progress, size)


def _listen(
    engine: AsrEngine, lines: list[Line], context: StageContext, language: str, progress: Callable[[float], None]
) -> None:
    """Let the recogniser translate the whole audio, and lay its English onto the segments. Raises StageError."""
    pcm, rate = soundfile.read(context.input("asr_audio"), dtype="float32")
    if rate != ASR_SAMPLE_RATE or pcm.ndim != 1:
        raise StageError("bad_input", f"asr_audio must be mono at {ASR_SAMPLE_RATE} Hz")
    beam = int(setting(context.command, "asr_beam"))
    with working(engine):
        heard = engine.translate_to_english(pcm, language, progress, beam=beam)
    chunks = [Timed(part.start, part.end, part.text) for part in heard.segments]
    spans = [(line.segment.start, line.segment.end) for line in lines]
    for line, text in zip(lines, onto_segments(chunks, spans), strict=True):
        line.text = text


def _issues(line: Line) -> list[Issue]:
    """Return what a person should look at; never the text itself."""
    index = line.segment.index
    if line.failed:
        kept = "could not be translated and keeps its source text"
        return [Issue(code="translation_failed", stage="translate", segment=index, detail=kept)]
    if is_speakable(line.segment.text) and not is_speakable(line.text):
        beside = "the recogniser's translation puts its words into a neighbouring segment"
        return [Issue(code="translation_empty", stage="translate", segment=index, detail=beside)]
    if line.unknown_words:
        words = f"{line.unknown_words} words were left as they are"
        return [Issue(code="untranslated_words", stage="translate", segment=index, detail=words)]
    return []


def _translated(line: Line) -> TranslatedSegment:
    return TranslatedSegment(
        index=line.segment.index,
        start=line.segment.start,
        end=line.segment.end,
        source_text=line.segment.text,
        text=line.text,
        unknown_words=line.unknown_words,
    )


def _count(lines: Sequence[Line]) -> int:
    return sum(not line.failed and is_speakable(line.text) for line in lines)


def _source_language(command: StageCommand) -> str:
    language = command.facts.get("language", command.job.src_lang)
    if language == AUTO:
        raise StageError("missing_input", "the language of the transcript was not given")
    return str(language)


def _part_of(context: StageContext, number: int, steps: int, name: str) -> Callable[[float], None]:
    """Return a progress function for one step of several."""

    def progress(fraction: float) -> None:
        context.progress((number + fraction) / steps, f"translating ({name})")

    progress(0.0)
    return progress
