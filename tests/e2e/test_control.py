"""Controlling a running job as its owner and as an operator: what is asked for happens, and is told."""

import json
import subprocess
from pathlib import Path
from typing import Any

from shared.runtime_state import CAP_NAMES, RuntimeModels, RuntimeState
from tests import local_http
from tests.dubbing_system import DUBLINE, System, another_copy
from tests.system import eventually


def transcribing(job: dict[str, Any]) -> bool:
    return any(stage["stage"] == "transcribe" and stage["status"] == "claimed" for stage in job["stages"])


def dubline(system: System, *arguments: str) -> str:
    command = [DUBLINE, *arguments, "--server", system.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def runtime_state(system: System) -> RuntimeState:
    """The scheduler's answer, through the command: the same data as over HTTP."""
    return RuntimeState.model_validate_json(dubline(system, "runtime", "state", "--json"))


def test_a_cancelled_job_stops_and_frees_its_worker(system: System, tmp_path: Path) -> None:
    job_id = system.submit("pt", another_copy(tmp_path, 501))
    system.until(job_id, transcribing)
    answer = local_http.post(f"{system.url}/api/jobs/{job_id}/cancel", timeout=10)
    assert answer.is_success, answer.text
    job = system.until(job_id, lambda job: job["state"] == "CANCELED" and not transcribing(job), timeout_s=10)
    assert [stage["status"] for stage in job["stages"] if stage["stage"] == "mux"] == ["pending"]
    again = local_http.post(f"{system.url}/api/jobs/{job_id}/cancel", timeout=10)
    assert again.status_code == 409
    assert again.headers["content-type"] == "application/problem+json"
    following = system.submit("pt", another_copy(tmp_path, 502))
    system.until(following, transcribing, timeout_s=20)
    local_http.post(f"{system.url}/api/jobs/{following}/cancel", timeout=10).raise_for_status()


def test_a_running_job_pauses_after_its_stage_and_goes_on(system: System, tmp_path: Path) -> None:
    job_id = system.submit("pt", another_copy(tmp_path, 503))
    system.until(job_id, transcribing)
    assert "pauses when its running stage has ended" in dubline(system, "job", "pause", job_id)
    assert system.get(f"/api/jobs/{job_id}")["state"] == "RUNNING"
    paused = system.until(job_id, lambda job: job["state"] == "PAUSED")
    done = {stage["stage"] for stage in paused["stages"] if stage["status"] == "done"}
    assert {"audio", "transcribe"} <= done
    assert "tts" not in done
    dubline(system, "job", "resume", job_id)
    system.until(job_id, lambda job: job["state"] == "RUNNING")
    dubline(system, "job", "kill", job_id)
    system.until(job_id, lambda job: job["state"] == "CANCELED")
    assert "run 2" in dubline(system, "job", "rerun", job_id)
    again = system.until(job_id, lambda job: job["state"] == "RUNNING" and job["run"] == 2)
    assert {stage["stage"] for stage in again["stages"] if stage["status"] == "done"} >= done
    answer = local_http.post(f"{system.url}/api/jobs/{job_id}/cancel", timeout=10)
    assert answer.is_success or answer.json()["state"] == "DONE", answer.text  # a fast machine has done the rest


def test_a_waiting_job_says_why_and_starts_when_an_operator_makes_room(system: System, tmp_path: Path) -> None:
    dubline(system, "runtime", "set", "MAX_CONCURRENCY_GLOBAL=0")
    try:
        job_id = system.submit("pt", another_copy(tmp_path, 504))
        eventually("the scheduler knows of the job", lambda: runtime_state(system).queue_total > 0)
        state = runtime_state(system)
        (cap,) = [cap for cap in state.caps if cap.name == "MAX_CONCURRENCY_GLOBAL"]
        assert (cap.limit, cap.overridden) == (0, True)
        (waiting,) = [job for job in state.queue if job.job_id == job_id]
        assert waiting.reason_code == "global_cap"
        assert waiting.reason
        dubline(system, "job", "priority", job_id, "3")
        eventually("it has its place", lambda: [job.priority for job in runtime_state(system).queue] == [3])
        assert job_id in dubline(system, "runtime", "state")
    finally:
        dubline(system, "runtime", "set", "MAX_CONCURRENCY_GLOBAL=")
    system.until(job_id, lambda job: job["state"] == "RUNNING", timeout_s=20)
    dubline(system, "job", "kill", job_id)


def test_an_operator_sees_the_workers_and_the_limits(system: System) -> None:
    state = runtime_state(system)
    assert {cap.name for cap in state.caps} == set(CAP_NAMES)
    assert all(worker.alive and worker.engines for worker in state.workers)
    assert {lag.consumer for lag in state.consumers} == {"cmd_cpu", "cmd_gpu"}
    assert set(json.loads(dubline(system, "runtime", "state", "--json"))["state"]) >= {
        "queue_len", "active_global", "limits", "active_phase",
    }  # fmt: skip


def test_prewarming_is_told_step_by_step_until_it_has_ended(system: System) -> None:
    answer = local_http.post(f"{system.url}/api/runtime/models/prewarm", params={"preset": "low"}, timeout=10)
    task = answer.json()["task_id"]

    def ended() -> bool:
        told = RuntimeModels.model_validate(system.get("/api/runtime/models"))
        return any(one.task == task and one.state in {"finished", "failed"} and one.steps for one in told.prewarm)

    eventually("the task has ended, and told of its models", ended, timeout_s=120)
    assert task in dubline(system, "runtime", "models")
