"""An example of every answer, for the OpenAPI document; a test holds each against its model.

Lives here: invented values. Does not live here: shapes (`services.library.routes.documents`).
"""

from typing import Any

from services.library.view import PROGRESS

JOB_ID = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
PROJECT_ID = "proj_4f1c2b3a59687d0e"
PRESET_ID = "preset_0a1b2c3d4e5f6071"

_TIME = "2026-01-02T03:04:05.000Z"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_STAGES: list[dict[str, Any]] = [
    {
        "stage": stage,
        "status": "done",
        "attempt": 1,
        "started_at": _TIME,
        "ended_at": "2026-01-02T03:04:06.500Z",
        "duration_s": 1.5,
        "load_s": 0.2,
        "engine_s": 1.1,
        "total_s": 1.4,
        "engine": "ffmpeg",
        "engine_version": "7.1",
        "device": "cpu",
        "worker": "w1",
        "reused_from": None,
        "facts": {},
        "error_code": None,
        "error": None,
    }
    for stage in PROGRESS
]

JOB: dict[str, Any] = {
    "id": JOB_ID,
    "seq": 4711,
    "owner_id": "local",
    "title": "holiday.mp4",
    "stem": "holiday",
    "base_dir": "family/holiday",
    "project_id": PROJECT_ID,
    "project_name": "Family",
    "preset_id": PRESET_ID,
    "tags": ["summer", "to check"],
    "archived": False,
    "archived_at": None,
    "visibility": "private",
    "imported": False,
    "state": "DONE",
    "progress": 1.0,
    "message": "Done",
    "mode": "high",
    "requested_mode": "high",
    "degraded": [],
    "settings": {"asr_model": {"value": "small", "reason": "mode:high"}},
    "priority": 100,
    "pause_requested": False,
    "device": "auto",
    "src_lang": "en",
    "tgt_lang": "pt",
    "detected_lang": "en",
    "duration_s": 24.0,
    "width": 1280,
    "height": 720,
    "created_at": _TIME,
    "updated_at": "2026-01-02T03:05:00.000Z",
    "started_at": _TIME,
    "ended_at": "2026-01-02T03:05:00.000Z",
    "run": 1,
    "version": 4730,
    "error_code": None,
    "error": None,
    "issues": [],
    "stages": _STAGES,
    "outputs_summary": ["mkv"],
}

OUTPUT = {
    "kind": "mkv",
    "name": "holiday.dub.mkv",
    "path": "family/holiday/holiday.dub.mkv",
    "url": "/files/family/holiday/holiday.dub.mkv",
    "size_bytes": 10485760,
    "sha256": _SHA256,
    "lang": None,
}

_LINK = {"url": OUTPUT["url"], "path": OUTPUT["path"]}
FILES = {
    "files": [OUTPUT | {"mtime": 1767323100.25}],
    "hls_manifest": None,
    "lipsync_mp4": None,
    "mp4": None,
    "mkv": _LINK,
    "mobile_mp4": None,
    "mobile_original_mp4": None,
    "mobile_hls_manifest": None,
    "qa_summary": None,
    "qa_top_issues": None,
    "stream_manifest": None,
}

STREAM = {"version": 1, "job_id": JOB_ID, "chunks": []}

JOB_PAGE = {
    "items": [JOB],
    "limit": 1,
    "offset": 0,
    "total": 4000,
    "next_offset": 1,
    "next_cursor": "1069b7d8c1e300005",
}

EVENT = {
    "specversion": "1.0",
    "id": "0192f0c1-2b3c-7d4e-8f50-000000000001",
    "type": "dubline.job.archived.v1",
    "source": "urn:dubline:ingest",
    "subject": JOB_ID,
    "time": _TIME,
    "datacontenttype": "application/json",
    "dataschema": "urn:dubline:schema:dubline.job.archived.v1",
    "actor": "local",
    "correlationid": JOB_ID,
    "data": {"reason": ""},
    "seq": 4730,
}

JOB_DETAIL = JOB | {
    "outputs": [OUTPUT],
    "history": [EVENT],
    "history_truncated": False,
    "at": {"seq": 4730, "time": _TIME},
}

PROJECT = {
    "id": PROJECT_ID,
    "owner_id": "local",
    "name": "Family",
    "created_at": _TIME,
    "updated_at": _TIME,
    "default_preset_id": PRESET_ID,
    "output_subdir": "family",
    "profile": {"asr_model": "whisper-small"},
}

PRESET = {
    "id": PRESET_ID,
    "owner_id": "local",
    "name": "Portuguese, best",
    "created_at": _TIME,
    "updated_at": _TIME,
    "mode": "high",
    "device": "auto",
    "src_lang": "auto",
    "tgt_lang": "pt",
    "tts_lang": "",
    "tts_speaker": "",
    "profile": {"mix": "legacy"},
}

TAGS = {"items": [{"tag": "summer", "n": 12}, {"tag": "to check", "n": 3}]}

STATS = {
    "counts": {"DONE": 3990, "RUNNING": 2, "QUEUED": 8},
    "total": 4000,
    "position": 81234,
    "lag": 0,
    "quarantined": 0,
}
