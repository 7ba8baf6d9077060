"""The span of a stage: begun before the claim, carried by every event of the stage, linked to who held it before."""

from collections.abc import Iterator

import pytest

from shared import tracing
from shared.events.types import JobCanceled, StageClaimed, StageCompleted
from tests.factories import claimed, event
from tests.otlp_receiver import Collector, collecting
from tests.unit.worker.parts import working
from tests.unit.worker.test_service import gone

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SCHEDULE = f"00-{TRACE}-{'1' * 16}-01"
DEAD_WORKER = f"00-{TRACE}-{'ab' * 8}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as running:
        monkeypatch.setenv(tracing.ENDPOINT, running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        tracing.configure("worker")
        yield running
        tracing.shutdown()


async def test_the_claim_and_the_outcome_belong_to_the_span_of_the_stage(collector: Collector) -> None:
    async with working() as world:
        world.runner.release.set()
        await world.submit(traceparent=SCHEDULE)
        done = await world.ended(StageCompleted)
    tracing.shutdown()
    (stage,) = collector.named("stage")
    (claim,) = world.events(StageClaimed)
    assert (stage.trace_id, stage.parent_id, stage.links) == (TRACE, "1" * 16, [])
    assert claim.traceparent == done.traceparent == f"00-{TRACE}-{stage.span_id}-01"
    assert stage.attributes["dubline.event"] == "Finished"


async def test_a_stage_that_was_taken_over_points_at_the_span_of_the_claim_before(collector: Collector) -> None:
    async with working() as world:
        world.runner.release.set()
        async with world.worker.turn:
            wanted = await world.submit(traceparent=SCHEDULE)
            held = claimed(wanted.job_id, "audio", worker="dead one")
            await world.log.append(held.model_copy(update={"traceparent": DEAD_WORKER}))
        await world.ended(StageCompleted)
    tracing.shutdown()
    assert [span.links for span in collector.named("stage")] == [["ab" * 8]]


async def test_a_command_that_nobody_wants_says_so(collector: Collector) -> None:
    async with working() as world:
        async with world.worker.turn:
            wanted = await world.submit(traceparent=SCHEDULE)
            await world.log.append(event(JobCanceled, wanted.job_id))
        await gone(world)
    tracing.shutdown()
    assert [span.attributes["dubline.event"] for span in collector.named("stage")] == ["Drop"]
    assert not world.events(StageClaimed)
