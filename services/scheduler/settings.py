"""The scheduler's own configuration."""

from pathlib import Path

from pydantic import Field

from services.scheduler.limits import STAGE_BUDGET_S, STAGE_TIMEOUT_S, Limits
from shared.settings import Settings


class SchedulerSettings(Settings):
    """Names as the predecessor's where it had one; `DUBLINE_SCHEDULER_HOST`, `DUBLINE_SCHEDULER_PORT` besides."""

    scheduler_host: str = "127.0.0.1"
    scheduler_port: int = 8012
    scheduler_snapshot_s: float = 60.0
    """How often the folded state is saved, so that a start need not read the whole log; 0 never saves or reads it."""

    max_concurrency_global: int = Field(2, validation_alias="MAX_CONCURRENCY_GLOBAL", ge=0)
    max_concurrency_transcribe: int = Field(1, validation_alias="MAX_CONCURRENCY_TRANSCRIBE", ge=0)
    max_concurrency_tts: int = Field(1, validation_alias="MAX_CONCURRENCY_TTS", ge=0)
    max_jobs_high: int = Field(0, validation_alias="MAX_JOBS_HIGH", ge=0)
    max_jobs_medium: int = Field(0, validation_alias="MAX_JOBS_MEDIUM", ge=0)
    max_jobs_low: int = Field(0, validation_alias="MAX_JOBS_LOW", ge=0)
    max_concurrent: int = Field(2, validation_alias="MAX_CONCURRENT", ge=0)
    daily_processing_minutes: float = Field(240, validation_alias="DAILY_PROCESSING_MINUTES", ge=0)
    max_queued_per_user: int = Field(0, validation_alias="MAX_QUEUED_PER_USER", ge=0)
    jobs_per_day_per_user: int = Field(0, validation_alias="JOBS_PER_DAY_PER_USER", ge=0)
    max_storage_bytes_per_user: int = Field(0, validation_alias="MAX_STORAGE_BYTES_PER_USER", ge=0)
    backpressure_q_max: int = Field(6, validation_alias="BACKPRESSURE_Q_MAX", ge=0)
    retry_max: int = Field(3, validation_alias="RETRY_MAX", ge=1)
    retry_base_s: float = Field(0.5, validation_alias="RETRY_BASE_SEC", gt=0)
    retry_cap_s: float = Field(8.0, validation_alias="RETRY_CAP_SEC", gt=0)
    cb_fail_threshold: int = Field(5, validation_alias="CB_FAIL_THRESHOLD", ge=1)
    cb_cooldown_s: float = Field(60.0, validation_alias="CB_COOLDOWN_SEC", gt=0)
    watchdog_audio_s: float = Field(STAGE_TIMEOUT_S["audio"], validation_alias="WATCHDOG_AUDIO_SEC", gt=0)
    watchdog_transcribe_s: float = Field(STAGE_TIMEOUT_S["transcribe"], validation_alias="WATCHDOG_WHISPER_SEC", gt=0)
    watchdog_translate_s: float = Field(STAGE_TIMEOUT_S["translate"], validation_alias="WATCHDOG_TRANSLATE_SEC", gt=0)
    watchdog_tts_s: float = Field(STAGE_TIMEOUT_S["tts"], validation_alias="WATCHDOG_TTS_SEC", gt=0)
    watchdog_mix_s: float = Field(STAGE_TIMEOUT_S["mix"], validation_alias="WATCHDOG_MIX_SEC", gt=0)
    watchdog_mux_s: float = Field(STAGE_TIMEOUT_S["mux"], validation_alias="WATCHDOG_MUX_SEC", gt=0)
    budget_transcribe_s: float = Field(STAGE_BUDGET_S["transcribe"], validation_alias="BUDGET_TRANSCRIBE_SEC", gt=0)
    budget_tts_s: float = Field(STAGE_BUDGET_S["tts"], validation_alias="BUDGET_TTS_SEC", gt=0)
    budget_mux_s: float = Field(STAGE_BUDGET_S["mux"], validation_alias="BUDGET_MUX_SEC", gt=0)

    @property
    def snapshot_path(self) -> Path:
        return self.layout.scheduler_snapshot

    def limits(self) -> Limits:
        """Return what the policy obeys."""
        return Limits(
            max_running=self.max_concurrency_global,
            phases={"transcribe": self.max_concurrency_transcribe, "tts": self.max_concurrency_tts},
            modes={"high": self.max_jobs_high, "medium": self.max_jobs_medium, "low": self.max_jobs_low},
            user_running=self.max_concurrent,
            user_daily_minutes=self.daily_processing_minutes,
            user_queued=self.max_queued_per_user,
            user_jobs_per_day=self.jobs_per_day_per_user,
            user_stored_bytes=self.max_storage_bytes_per_user,
            backpressure_q_max=self.backpressure_q_max,
            min_free_gb=self.min_free_gb,
            retry_max=self.retry_max,
            retry_base_s=self.retry_base_s,
            retry_cap_s=self.retry_cap_s,
            breaker_failures=self.cb_fail_threshold,
            breaker_cooldown_s=self.cb_cooldown_s,
            timeouts_s={
                "audio": self.watchdog_audio_s,
                "transcribe": self.watchdog_transcribe_s,
                "translate": self.watchdog_translate_s,
                "tts": self.watchdog_tts_s,
                "mix": self.watchdog_mix_s,
                "mux": self.watchdog_mux_s,
            },
            budgets_s={
                "transcribe": self.budget_transcribe_s,
                "tts": self.budget_tts_s,
                "mux": self.budget_mux_s,
            },
        )
