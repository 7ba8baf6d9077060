"""An engine that fails five times in a row is left alone for a minute, then tried once."""

from services.scheduler.breakers import Breakers
from services.scheduler.limits import Limits
from shared.events.types import EngineUsed, StageFailed
from tests.factories import completed, failed
from tests.unit.scheduler.boards import at

LIMITS = Limits()


def failure(seconds: float, engine: str | None = "kokoro", job: str = "j") -> StageFailed:
    made = failed(job, "tts")
    data = made.data.model_copy(update={"engine": engine})
    return made.model_copy(update={"data": data, "time": at(seconds)})


def opened() -> Breakers:
    breakers = Breakers()
    for second in range(5):
        breakers.failed(failure(second))
    return breakers


def by(engine: str, job: str = "j") -> object:
    return completed(job, "tts", engine=EngineUsed(name=engine, version="1", device="cpu", digest="d"))


def test_four_failures_are_forgiven_and_the_fifth_in_a_row_opens() -> None:
    breakers = Breakers()
    for second in range(4):
        breakers.failed(failure(second))
    assert breakers.avoided("j", "tts", LIMITS, at(4)) == []
    breakers.failed(failure(4))
    assert breakers.avoided("j", "tts", LIMITS, at(4)) == ["kokoro"]


def test_a_success_in_between_starts_the_count_again_and_a_reused_result_does_not() -> None:
    breakers = opened()
    breakers.completed(completed("j", "tts", reused_from="k", engine=EngineUsed(
        name="kokoro", version="1", device="cpu", digest="d")))  # fmt: skip
    assert breakers.state("kokoro", LIMITS, at(5)) == "open"
    breakers.completed(by("kokoro"))  # type: ignore[arg-type]
    assert breakers.state("kokoro", LIMITS, at(5)) == "closed"


def test_a_failure_that_names_no_engine_opens_nothing() -> None:
    breakers = Breakers()
    for second in range(9):
        breakers.failed(failure(second, engine=None))
    assert breakers.known == {}


def test_after_the_cooldown_one_job_tries_and_the_others_keep_away() -> None:
    breakers = opened()
    assert breakers.state("kokoro", LIMITS, at(63)) == "open"
    assert breakers.avoided("first", "tts", LIMITS, at(64)) == []
    breakers.begin_trials("first", "tts", (), LIMITS, at(64))
    assert breakers.avoided("second", "tts", LIMITS, at(65)) == ["kokoro"]
    assert breakers.avoided("first", "tts", LIMITS, at(65)) == []


def test_another_stage_is_no_trial_for_an_engine_that_it_may_not_even_use() -> None:
    breakers = opened()
    assert breakers.avoided("first", "transcribe", LIMITS, at(64)) == ["kokoro"]


def test_a_trial_that_fails_opens_again_and_one_that_succeeds_closes() -> None:
    breakers = opened()
    breakers.begin_trials("first", "tts", (), LIMITS, at(64))
    breakers.failed(failure(70, job="first"))
    assert breakers.state("kokoro", LIMITS, at(71)) == "open"
    assert breakers.until("kokoro", LIMITS) == at(130)
    breakers.begin_trials("second", "tts", (), LIMITS, at(131))
    breakers.completed(by("hibari+kokoro", "second"))  # type: ignore[arg-type]
    assert breakers.known == {}


def test_a_trial_that_was_handed_back_is_given_to_the_next() -> None:
    breakers = opened()
    breakers.begin_trials("first", "tts", (), LIMITS, at(64))
    breakers.released("first")
    assert breakers.avoided("second", "tts", LIMITS, at(65)) == []
