"""Making models ready on request: real fetching, real engines in a real child, every step an event."""

from pathlib import Path

import pytest
from nats.aio.msg import Msg

from services.worker.capabilities import Inventory, take_inventory
from services.worker.child_process import ChildProcess
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import Engines
from services.worker.models.manifest import Lock, load_lock
from services.worker.models.resolver import is_present
from services.worker.prewarm import Prewarmer
from shared.eventlog.memory import MemoryEventLog
from shared.events.runtime import PrewarmProgressed, PrewarmProgressedData, PrewarmRequestedData
from shared.layout import Layout
from shared.settings import Settings

MODELS = Settings().models_dir
HERE = "whisper-base"


def lock_of_what_is_here() -> Lock:
    """One model that is here, and one that cannot be had."""
    lock = load_lock()
    model = lock.model(HERE)
    if not is_present(model, MODELS):
        pytest.skip(f"model {HERE} is not here")
    return lock.model_copy(update={"models": [model, model.model_copy(update={"id": "no-such-model"})]})


async def steps(log: MemoryEventLog) -> list[PrewarmProgressedData]:
    return [record.event.data for record in log.records if isinstance(record.event, PrewarmProgressed)]


async def test_models_are_fetched_engines_loaded_and_what_fails_stops_nothing(tmp_path: Path) -> None:
    log, runner = MemoryEventLog(), ChildProcess(Layout(tmp_path))

    async def refresh() -> Inventory:
        return take_inventory(Engines.installed(EngineOptions(MODELS)), MODELS, "cpu", "w1", ["cpu"])

    prewarmer = Prewarmer(log, "w1", lock_of_what_is_here(), refresh, runner.warm)
    try:
        await prewarmer.run(PrewarmRequestedData(task="t", preset="low"))
    finally:
        await runner.kill()
    told = await steps(log)
    by_model = {(step.model, step.state) for step in told}
    assert {(HERE, "started"), (HERE, "ready"), ("no-such-model", "started"), ("no-such-model", "failed")} <= by_model
    assert all(step.task == "t" and step.worker == "w1" for step in told)
    last = told[-1]
    assert (last.model, last.state) == ("", "finished")
    assert "whisper" in last.detail
    assert next(step.detail for step in told if step.state == "failed"), "it says why"


async def test_a_request_that_makes_no_sense_is_left_alone(tmp_path: Path) -> None:
    log, runner = MemoryEventLog(), ChildProcess(Layout(tmp_path))

    async def refresh() -> Inventory:
        raise AssertionError

    prewarmer = Prewarmer(log, "w1", load_lock(), refresh, runner.warm)
    await prewarmer.on_request(Msg(_client=None, data=b'{"preset": "fastest"}'))  # type: ignore[arg-type]
    await prewarmer.close()
    assert log.records == []
