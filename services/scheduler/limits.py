"""Every number that the policy obeys, by the names that an operator knows.

Lives here: caps, quotas, time-outs and retries as values, and overriding them. Does not live here: obeying them
(`policy`), or reading the environment (`settings`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shared.events.names import Mode, Stage

STAGE_TIMEOUT_S: Mapping[Stage, float] = {
    "audio": 600,
    "transcribe": 2700,
    "translate": 600,
    "tts": 1800,
    "mix": 1200,
    "mux": 1200,
}
"""How long a stage may run before its process is killed: the predecessor's watchdogs."""

STAGE_BUDGET_S: Mapping[Stage, float] = {"transcribe": 600, "tts": 900, "mux": 120}
"""Longer than this is flagged on the job, not stopped: the predecessor's budgets."""

_PHASES: Mapping[str, Stage] = {"MAX_CONCURRENCY_TRANSCRIBE": "transcribe", "MAX_CONCURRENCY_TTS": "tts"}
_MODES: Mapping[str, Mode] = {"MAX_JOBS_HIGH": "high", "MAX_JOBS_MEDIUM": "medium", "MAX_JOBS_LOW": "low"}
_FIELDS: Mapping[str, str] = {
    "MAX_CONCURRENCY_GLOBAL": "max_running",
    "MAX_CONCURRENT": "user_running",
    "DAILY_PROCESSING_MINUTES": "user_daily_minutes",
    "MAX_QUEUED_PER_USER": "user_queued",
    "JOBS_PER_DAY_PER_USER": "user_jobs_per_day",
    "MAX_STORAGE_BYTES_PER_USER": "user_stored_bytes",
    "BACKPRESSURE_Q_MAX": "backpressure_q_max",
    "MIN_FREE_GB": "min_free_gb",
}


@dataclass(frozen=True)
class Limits:
    """Caps are counts (0: none, but for `max_running`, where it starts nothing), times seconds.

    The defaults are the predecessor's.
    """

    max_running: int = 2
    phases: Mapping[Stage, int] = field(default_factory=lambda: {"transcribe": 1, "tts": 1})
    modes: Mapping[Mode, int] = field(default_factory=dict)
    user_running: int = 2
    user_daily_minutes: float = 240
    user_queued: int = 0
    user_jobs_per_day: int = 0
    user_stored_bytes: int = 0
    backpressure_q_max: int = 6
    min_free_gb: float = 10.0
    retry_max: int = 3
    retry_base_s: float = 0.5
    retry_cap_s: float = 8.0
    breaker_failures: int = 5
    breaker_cooldown_s: float = 60.0
    timeouts_s: Mapping[Stage, float] = field(default_factory=lambda: dict(STAGE_TIMEOUT_S))
    budgets_s: Mapping[Stage, float] = field(default_factory=lambda: dict(STAGE_BUDGET_S))

    def named(self) -> dict[str, float]:
        """Return every cap by its environment name."""
        named = {name: float(getattr(self, attribute)) for name, attribute in _FIELDS.items()}
        named |= {name: float(self.phases.get(stage, 0)) for name, stage in _PHASES.items()}
        return named | {name: float(self.modes.get(mode, 0)) for name, mode in _MODES.items()}

    def overridden(self, overrides: Mapping[str, float]) -> "Limits":
        """Return these limits with an operator's overrides; names that nobody knows are ignored."""
        if not overrides:
            return self
        changes: dict[str, float | int] = {}
        phases, modes = dict(self.phases), dict(self.modes)
        for name, value in overrides.items():
            if name in _PHASES:
                phases[_PHASES[name]] = int(value)
            elif name in _MODES:
                modes[_MODES[name]] = int(value)
            elif name in _FIELDS:
                whole = isinstance(getattr(self, _FIELDS[name]), int)
                changes[_FIELDS[name]] = int(value) if whole else float(value)
        return replace(self, phases=phases, modes=modes, **changes)  # type: ignore[arg-type]
