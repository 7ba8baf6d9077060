"""Configuration from the environment, read once when a process starts.

Lives here: every variable that more than one service reads, with its default and unit.
"""

from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.layout import Layout


def default_models_dir() -> Path:
    """Weights are shared between checkouts of one person, like any cache."""
    return Path.home() / ".cache" / "dubline" / "models"


def _networks(value: str) -> str:
    """A network that is written wrongly stops the service at its start, not the first request that needs it."""
    for name in filter(None, map(str.strip, value.split(","))):
        ip_network(name)
    return value


class Settings(BaseSettings):
    """Environment names are the field names in upper case, after `DUBLINE_`, except where the predecessor had one."""

    model_config = SettingsConfigDict(env_prefix="DUBLINE_", extra="ignore", frozen=True, populate_by_name=True)

    data_dir: Path = Path("data")
    models_dir: Path = Field(default_factory=default_models_dir)

    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password_file: Path | None = None

    host: str = "127.0.0.1"
    """Until accounts exist, services refuse to listen beyond loopback unless a container network isolates them."""
    port: int = 8000
    allow_non_loopback: bool = False
    """Set inside containers, where only the gateway can reach a service."""
    allowed_hosts: str = ""
    """Host names besides loopback ones that requests may name, separated by commas."""

    log_level: str = Field("INFO", validation_alias="LOG_LEVEL")
    ack_wait_s: float = 15.0
    """A worker that is silent for so long loses its command to another one."""
    max_upload_mb: int = Field(2048, validation_alias="MAX_UPLOAD_MB")
    max_video_min: int = Field(120, validation_alias="MAX_VIDEO_MIN")
    min_free_gb: float = Field(10.0, validation_alias="MIN_FREE_GB")
    """Below this uploads are refused and jobs wait."""
    webhook_allow_cidrs: Annotated[str, AfterValidator(_networks)] = Field("", validation_alias="WEBHOOK_ALLOW_CIDRS")
    """Networks, separated by commas, where webhooks may go although they are private; over plain HTTP too."""
    webhook_allow_http: bool = Field(default=False, validation_alias="WEBHOOK_ALLOW_HTTP")
    """Let webhooks go to public addresses over plain HTTP."""
    drain_timeout_s: float = Field(120.0, validation_alias="DRAIN_TIMEOUT_SEC")

    @cached_property
    def layout(self) -> Layout:
        """The paths below `data_dir`."""
        return Layout(self.data_dir.resolve())

    @property
    def allowed_host_names(self) -> tuple[str, ...]:
        """`allowed_hosts`, split."""
        return tuple(name.strip() for name in self.allowed_hosts.split(",") if name.strip())

    def nats_password(self) -> str | None:
        """Return the broker password of this service, or None where the broker has no accounts (tests)."""
        return self.nats_password_file.read_text().strip() if self.nats_password_file else None
