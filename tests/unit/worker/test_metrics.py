"""A worker's metrics: what is counted, as its health server tells it."""

from starlette.testclient import TestClient

from services.worker.health import health_app
from services.worker.metrics import WorkerMetrics


def test_what_became_of_commands_outcomes_and_children_is_counted_and_told() -> None:
    busy = [False]
    metrics = WorkerMetrics(lambda: busy[0])
    metrics.command("claimed")
    metrics.command("claimed")
    metrics.command("dropped")
    metrics.commit("lost")
    metrics.child_killed("timeout")
    metrics.lease_error()
    with TestClient(health_app(lambda: None, metrics.registry), base_url="http://127.0.0.1") as client:
        idle = client.get("/metrics").text.splitlines()
        busy[0] = True
        later = client.get("/metrics").text.splitlines()
    assert {
        'dub_worker_commands_total{outcome="claimed"} 2.0',
        'dub_worker_commands_total{outcome="dropped"} 1.0',
        'dub_worker_commits_total{result="lost"} 1.0',
        'dub_worker_child_kills_total{reason="timeout"} 1.0',
        "dub_worker_lease_errors_total 1.0",
        "dub_worker_busy 0.0",
    } <= set(idle)
    assert "dub_worker_busy 1.0" in later
