"""How the pages say things to people. Pure.

Lives here: words for states, stages, issues, settings, sizes and times. Does not live here: HTML (`templates`).
"""

from datetime import datetime

from shared.events.names import Stage
from shared.job.aggregate import JobState, StageStatus

STAGE_NAMES: dict[Stage, str] = {
    "audio": "Extract audio",
    "transcribe": "Transcribe",
    "translate": "Translate",
    "tts": "Speak",
    "mix": "Mix",
    "mux": "Write video",
}

STATE_NAMES: dict[JobState, str] = {
    JobState.QUEUED: "Queued",
    JobState.PAUSED: "Paused",
    JobState.RUNNING: "Running",
    JobState.DONE: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELED: "Canceled",
}

STATUS_NAMES: dict[StageStatus, str] = {
    StageStatus.PENDING: "not started",
    StageStatus.CLAIMED: "running",
    StageStatus.DONE: "done",
    StageStatus.FAILED: "failed",
    StageStatus.RELEASED: "handed back",
}

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fi": "Finnish", "fr": "French",
    "gl": "Galician", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "mk": "Macedonian", "nb": "Norwegian", "nl": "Dutch", "no": "Norwegian", "oc": "Occitan", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

ISSUES = {
    "budget_exceeded": "A stage took longer than it should",
    "channels_reduced": "The original channel layout could not be kept",
    "dead_letter": "No worker could bring a stage to its end",
    "engine_fallback": "Another engine did this, because the first choice kept failing",
    "line_not_spoken": "The voice could not say this line",
    "line_overruns": "The dubbed line is longer than its place",
    "loudness_changed": "The loudness changed when the video was written",
    "loudness_not_reached": "The wanted loudness was not reached",
    "low_asr_confidence": "This line was hard to understand; check its text",
    "no_subtitles": "A subtitle track is empty",
    "ran_smaller": "Memory ran out, so a stage ran with smaller settings",
    "silent_dialogue": "The dubbed voice cannot be heard",
    "sound_beyond_picture": "The original sound is longer than its picture",
    "subtitle_violation": "A subtitle breaks a rule of readability",
    "translation_empty": "The translation of this line is empty",
    "translation_failed": "This line could not be translated",
    "untranslated_words": "Some words were left untranslated",
}


POLICY_REASONS = {"backpressure_degraded": "busy", "backpressure_delayed": "busy"}


_CANCEL = ("cancel", "Cancel", "What is finished of it stays, and it can be run again")
_PAUSE = ("pause", "Pause", "It gives its place to others until you resume it")
_ACTIONS: dict[JobState, list[tuple[str, str, str]]] = {
    JobState.QUEUED: [_PAUSE, _CANCEL],
    JobState.PAUSED: [("resume", "Resume", "It queues again"), _CANCEL],
    JobState.RUNNING: [
        ("pause", "Pause", "It pauses when its running stage has ended"),
        _CANCEL,
        ("kill", "Kill", "Like cancel, but its processes get no time to end by themselves"),
    ],
}
_AGAIN = [("rerun", "Run again", "What is done of it is not done again")]
_GO_ON = ("resume", "Do not pause", "It goes on with its next stage")


def actions(state: JobState, *, pause_requested: bool) -> list[tuple[str, str, str]]:
    """Return what may be done with a job: the API's verb, the button's name, what it does."""
    offered = _ACTIONS.get(state, _AGAIN)
    return [_GO_ON if pause_requested and action[0] == "pause" else action for action in offered]


def policy_reason(reason: str) -> str:
    """Return why the scheduler lowered a mode or held a job back, in words."""
    return POLICY_REASONS.get(reason) or reason.replace("_", " ")


def lowered(requested: str, reasons: list[str]) -> str:
    """Return why a job runs in a lower mode than was asked for: lowered from high: busy."""
    why = ", ".join(dict.fromkeys(map(policy_reason, reasons)))
    return f"lowered from {requested}: {why}" if why else f"lowered from {requested}"


def setting_reason(reason: str) -> str:
    """Return where a setting's value comes from: high mode, your choice, no gpu here."""
    kind, _, rest = reason.partition(":")
    if kind == "mode":
        return f"{rest} mode"
    if kind == "fallback":
        return f"instead: {rest.replace('_', ' ').replace(',', ', ')}"
    return "your choice" if kind == "override" else reason


def language(code: str | None) -> str:
    """Return the English name of a language code; the code itself if it is not known here."""
    if not code or code == "auto":
        return "Detected"
    return LANGUAGES.get(code, code)


def issue_words(code: str) -> str:
    """Return a sentence for an issue; for one that is unknown here, its code in words."""
    return ISSUES.get(code) or code.replace("_", " ").capitalize()


def clock(seconds: float | None) -> str:
    """Return a media length as people write it: 0:24, 1:02:03."""
    whole = round(seconds or 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def took(seconds: float | None) -> str:
    """Return how long something took: 0.4 s, 12 s, 3 min 20 s; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def size(octets: int) -> str:
    """Return a size in decimal units: 812 B, 4.2 MB."""
    value, unit = float(octets), "B"
    for bigger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, bigger
    return f"{octets} B" if unit == "B" else f"{value:.1f} {unit}"


def moment(timestamp: str | None) -> str:
    """Return a stored timestamp as 2 Jan 2026, 03:04 UTC; the page's script makes it local."""
    if not timestamp:
        return ""
    time = datetime.fromisoformat(timestamp)
    return f"{time.day} {time:%b %Y, %H:%M} UTC"
