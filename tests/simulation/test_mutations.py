"""The simulation proves something only if it fails when a promise is not kept: each test here breaks one part."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

import services.scheduler.board
import services.scheduler.policy
import services.scheduler.service
import services.worker.claims
import services.worker.service
from services.scheduler.service import Scheduler
from services.worker.claims import Drop
from shared.eventlog.port import Expect
from shared.events.subjects import SCHEDULER_GRANTS
from tests.simulation.world import SimulatedWorld, nothing, simulate

SEEDS = 500

Prepare = Callable[[SimulatedWorld], None]


def shown(words: str, prepare: Prepare = nothing) -> bool:
    """Return whether a seed breaks the promise that is told in these words."""
    return any(words in line for seed in range(SEEDS) for line in simulate(seed, prepare).found)


def deaf(ignored: Callable[[Expect], bool]) -> Prepare:
    """Make the log take appends whatever they expect of these filters."""

    def prepare(world: SimulatedWorld) -> None:
        world.store.honours_expectations = lambda expect: not ignored(expect)

    return prepare


CAPS = {
    "MAX_CONCURRENCY_GLOBAL": 1, "MAX_CONCURRENCY_TRANSCRIBE": 1, "MAX_CONCURRENCY_TTS": 1,
    "MAX_JOBS_HIGH": 1, "MAX_JOBS_LOW": 1, "MAX_CONCURRENT": 1, "DAILY_PROCESSING_MINUTES": 20,
}  # fmt: skip


@pytest.mark.parametrize("name", CAPS)
def test_a_cap_that_is_too_large_is_found(name: str) -> None:
    def prepare(world: SimulatedWorld) -> None:
        if cap := world.limits.named()[name]:
            world.limits = world.limits.overridden({name: cap + CAPS[name]})

    assert shown("minutes today" if name.startswith("DAILY") else name, prepare)


def test_one_attempt_too_many_is_found() -> None:
    def stubborn(stage: Any) -> int:
        return stage.failures - 1

    true = services.scheduler.policy.hopeless

    def hopeless(job: Any, name: Any, limits: Any) -> Any:
        stage = job.stages[name]
        fewer = stage.model_copy(update={"failures": stubborn(stage)})
        return true(job.model_copy(update={"stages": job.stages | {name: fewer}}), name, limits)

    with patch.object(services.scheduler.policy, "hopeless", hopeless):
        assert shown("too many attempts")


def test_grants_without_a_fence_are_found() -> None:
    assert shown("grant of", deaf(lambda expect: expect.filter == SCHEDULER_GRANTS))


def test_transitions_and_claims_without_a_fence_are_found() -> None:
    assert shown("claim of", deaf(lambda expect: expect.filter.endswith(".>")))


def test_a_claim_that_expects_nothing_is_found() -> None:
    true = services.worker.claims._claim_at

    async def blind(log: Any, command: Any, owner: Any, version: int, heir_of: str | None = None) -> Any:
        class Blind:
            async def append(self, event: Any, _: Expect) -> Any:
                return await log.append(event)

        return await true(Blind(), command, owner, version, heir_of)  # type: ignore[arg-type]

    with patch.object(services.worker.claims, "_claim_at", blind):
        assert shown("claim of")


def test_an_outcome_that_does_not_mind_its_fence_is_found() -> None:
    async def commit(log: Any, claimed: Any, event: Any) -> bool:
        await log.append(event)
        return True

    with patch.object(services.worker.service, "commit", commit):
        assert shown("E4")


def test_a_dead_workers_claim_that_nobody_gives_back_is_found() -> None:
    true = services.worker.claims.verdict

    def verdict(job: Any, command: Any) -> Any:
        decided = true(job, command)
        return Drop(decided.reason) if isinstance(decided, Drop) else decided

    with patch.object(services.worker.claims, "verdict", verdict):
        assert shown("is still claimed")


def test_slots_that_are_freed_before_the_worker_let_go_are_found() -> None:
    with patch.object(services.scheduler.board, "uses_slot", lambda job: job.state == "RUNNING"):
        assert shown("take a slot")


def test_a_command_that_is_never_sent_again_is_found() -> None:
    class Forgetful(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            return next((value for known, value in self.items() if known[:2] == key[:2]), default)

    true = services.scheduler.service.plan

    def plan(board: Any, world: Any, released: Any) -> Any:
        return true(board, world, Forgetful(released))

    with (
        patch.object(services.scheduler.service, "plan", plan),
        patch.object(services.scheduler.policy, "RELEASE_AGAIN_S", 1e6),
    ):
        assert shown("E6")


def test_a_standby_that_never_takes_over_is_found() -> None:
    true = Scheduler._take_over

    async def once(self: Scheduler) -> None:
        if self.board.grants.holder is None:
            await true(self)

    with patch.object(Scheduler, "_take_over", once):
        assert shown("E6")
