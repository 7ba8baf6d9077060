"""What an operator's request to make a mode ready comes to."""

from services.worker.models.manifest import load_lock
from services.worker.prewarm import plan
from shared.job.modes import ASR_MODELS
from tests.unit.worker.parts import INVENTORY


def test_a_mode_needs_its_recogniser_and_every_model_that_is_no_recogniser() -> None:
    lock = load_lock()
    others = {model.id for model in lock.models} - set(ASR_MODELS)
    for mode in ("high", "medium", "low"):
        models, settings = plan(mode, INVENTORY, lock)
        assert set(models) == others | {settings["asr_model"]}
        assert settings["asr_model"] in ASR_MODELS


def test_a_model_that_is_not_here_yet_counts_as_one_that_can_be_had() -> None:
    lock = load_lock()
    nothing = INVENTORY.__class__(INVENTORY.capabilities)
    assert plan("medium", nothing, lock) == plan("medium", INVENTORY, lock)
