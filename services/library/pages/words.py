"""How the pages say things to people. Pure.

Lives here: words for states, stages, issues, sizes and times. Does not live here: HTML (`templates`).
"""

from datetime import datetime

from shared.events.types import Stage
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
    "channels_reduced": "The original channel layout could not be kept",
    "line_not_spoken": "The voice could not say this line",
    "line_overruns": "The dubbed line is longer than its place",
    "loudness_changed": "The loudness changed when the video was written",
    "loudness_not_reached": "The wanted loudness was not reached",
    "low_asr_confidence": "This line was hard to understand; check its text",
    "no_subtitles": "A subtitle track is empty",
    "silent_dialogue": "The dubbed voice cannot be heard",
    "sound_beyond_picture": "The original sound is longer than its picture",
    "subtitle_violation": "A subtitle breaks a rule of readability",
    "translation_empty": "The translation of this line is empty",
    "translation_failed": "This line could not be translated",
    "untranslated_words": "Some words were left untranslated",
}


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
