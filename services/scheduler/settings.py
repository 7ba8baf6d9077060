"""The scheduler's own configuration."""

from shared.settings import Settings


class SchedulerSettings(Settings):
    """`DUBLINE_SCHEDULER_HOST` and `DUBLINE_SCHEDULER_PORT`, besides what all services read."""

    scheduler_host: str = "127.0.0.1"
    scheduler_port: int = 8012
