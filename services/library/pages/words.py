"""How the pages say things to people. Pure.

Lives here: words for states, stages, issues, settings, sizes and times. Does not live here: HTML (`templates`).
"""

from datetime import datetime

from shared.access.principal import Role, Scope
from shared.events.library import Visibility
from shared.events.names import Device, Mode, Stage
from shared.job.model import JobState, StageStatus
from shared.outputs import Kind, OutputFile

DELETED_TYPE = "dubline.job.deleted.v1"

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

MODE_NAMES: dict[Mode, str] = {"high": "High", "medium": "Medium", "low": "Low"}

DEVICE_NAMES: dict[Device, str] = {"auto": "Any", "cuda": "GPU", "cpu": "CPU"}

VISIBILITY_NAMES: dict[Visibility, str] = {"private": "only you", "shared": "everybody here"}

ROLE_NAMES: dict[Role, str] = {
    "viewer": "sees what is shared",
    "operator": "dubs videos",
    "editor": "dubs, and makes projects, presets and webhooks",
    "admin": "everything, and the accounts",
}

SCOPE_NAMES: dict[Scope, str] = {
    "read:job": "see jobs",
    "submit:job": "dub videos and change jobs",
    "edit:job": "change projects, presets and webhooks",
    "admin:*": "administer",
}

CAP_WORDS: dict[str, tuple[str, str]] = {
    "MAX_CONCURRENCY_GLOBAL": ("Jobs that run at once", "0 starts nothing"),
    "MAX_CONCURRENCY_TRANSCRIBE": ("Jobs that transcribe at once", ""),
    "MAX_CONCURRENCY_TTS": ("Jobs that speak at once", ""),
    "MAX_JOBS_HIGH": ("Jobs in high mode at once", ""),
    "MAX_JOBS_MEDIUM": ("Jobs in medium mode at once", ""),
    "MAX_JOBS_LOW": ("Jobs in low mode at once", ""),
    "MAX_CONCURRENT": ("Jobs of one user at once", "of the busiest user"),
    "DAILY_PROCESSING_MINUTES": ("Minutes of video a day and user", "of the busiest user"),
    "MAX_QUEUED_PER_USER": ("Jobs of one user that wait", "of the busiest user"),
    "JOBS_PER_DAY_PER_USER": ("Jobs a day and user", "of the busiest user"),
    "MAX_STORAGE_BYTES_PER_USER": ("Bytes that one user keeps", "of the busiest user"),
    "BACKPRESSURE_Q_MAX": ("Jobs before modes are lowered", "running and waiting"),
    "MIN_FREE_GB": ("Free gigabytes that always stay", "below it jobs wait"),
}
"""Every limit that can be changed while the system runs (`CAP_NAMES`): what it is, and what to know of its use."""

NOT_HERE = "Not here"
REFUSALS = {403: "Not for you", 422: "Not understood", 429: "Too often", 503: "Not now"}
"""Headings of refusals by status; of any other, `NOT_HERE`."""

SIGN_IN_PROBLEMS = {
    "oidc_state_invalid": "That sign-in was begun in another browser, or took too long. Begin again.",
    "oidc_refused": "The other service did not let you in.",
    "oidc_user_unknown": "The other service knows you, but you have no account here. Ask an admin for an invite.",
    "oidc_unavailable": "The other service does not answer now. Try again, or sign in with your password.",
}
"""What the sign-in page says for `problem` in its address (`GET /api/auth/oidc/callback`)."""

FILE_NAMES: dict[Kind, str] = {
    "mkv": "Video, dubbed and original sound",
    "mp4": "Dubbed video, plays anywhere",
    "lipsync_mp4": "Dubbed video with matching lips",
    "mobile_mp4": "Small dubbed video for phones",
    "mobile_original_mp4": "Small original video for phones",
    "hls_manifest": "Playlist for streaming",
    "mobile_hls_manifest": "Playlist for streaming to phones",
    "subs": "Subtitles",
    "audio_track": "Sound",
    "qa_summary": "Quality report",
    "qa_top_issues": "Quality report, the worst lines",
    "retention_report": "Report of what was kept of the original",
}

FILE_GROUPS: dict[str, tuple[Kind, ...]] = {
    "Video": ("mp4", "mkv", "lipsync_mp4", "mobile_mp4", "mobile_original_mp4", "hls_manifest", "mobile_hls_manifest"),
    "Subtitles": ("subs",),
    "Sound": ("audio_track",),
    "Reports": ("qa_summary", "qa_top_issues", "retention_report"),
}

DELIVERY_NAMES = {"pending": "waiting", "delivered": "delivered", "failed": "failed"}

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
    "no_fast_voice": "No fast voice speaks this language, so a slower one did",
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


def actions(state: str, *, pause_requested: bool, sourceless: bool = False) -> list[tuple[str, str, str]]:
    """Return what may be done with a job: the API's verb, the button's name, what it does.

    A finished one whose source is not here is not run again; nor is anything offered for a state that is unknown here.
    """
    if sourceless or state not in STATE_NAMES:
        return []
    offered = _ACTIONS.get(JobState(state), _AGAIN)
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


def file_words(file: OutputFile) -> str:
    """Return what a file is: Portuguese subtitles."""
    name = FILE_NAMES[file.kind]
    return f"{language(file.lang)} {name.lower()}" if file.lang else name


def delivery_words(state: str, attempts: int) -> str:
    """Return how a message went: delivered; failed after 3 attempts."""
    name = DELIVERY_NAMES.get(state, state)
    if attempts == 0 or (state == "delivered" and attempts == 1):
        return name
    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return f"{name} after {times}"


def attempt_words(status: int | None, error: str | None, duration_ms: int) -> str:
    """Return how one attempt went: answered 204 in 87 ms; no answer: connection refused."""
    if status is not None:
        return f"answered {status} in {duration_ms} ms"
    return f"no answer: {error or 'nobody knows why'}"


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
