"""Cancelling a running job: it ends at once, and its worker is free for the next one."""

from pathlib import Path
from typing import Any

import httpx

from tests.dubbing_system import System, another_copy


def transcribing(job: dict[str, Any]) -> bool:
    return any(stage["stage"] == "transcribe" and stage["status"] == "claimed" for stage in job["stages"])


def test_a_cancelled_job_stops_and_frees_its_worker(system: System, tmp_path: Path) -> None:
    job_id = system.submit("pt", another_copy(tmp_path, 501))
    system.until(job_id, transcribing)
    answer = httpx.post(f"{system.url}/api/jobs/{job_id}/cancel", timeout=10)
    assert answer.is_success, answer.text
    job = system.until(job_id, lambda job: job["state"] == "CANCELED" and not transcribing(job), timeout_s=10)
    assert [stage["status"] for stage in job["stages"] if stage["stage"] == "mux"] == ["pending"]
    again = httpx.post(f"{system.url}/api/jobs/{job_id}/cancel", timeout=10)
    assert again.status_code == 409
    assert again.headers["content-type"] == "application/problem+json"
    following = system.submit("pt", another_copy(tmp_path, 502))
    system.until(following, transcribing, timeout_s=20)
    httpx.post(f"{system.url}/api/jobs/{following}/cancel", timeout=10).raise_for_status()
