"""Configuration from the environment, read once when a process starts.

Lives here: every variable that more than one service reads, with its default and unit.
"""

from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.access.credentials import PLAIN_SESSION_COOKIE, SESSION_COOKIE
from shared.layout import Layout


def default_models_dir() -> Path:
    """Weights are shared between checkouts of one person, like any cache."""
    return Path.home() / ".cache" / "dubline" / "models"


def _networks(value: str) -> str:
    """A network that is written wrongly stops the service at its start, not the first request that needs it."""
    for name in value.replace(",", " ").split():
        ip_network(name)
    return value


class Settings(BaseSettings):
    """Environment names are the field names in upper case, after `DUBLINE_`, except where the predecessor had one."""

    model_config = SettingsConfigDict(
        env_prefix="DUBLINE_",
        env_ignore_empty=True,  # a variable that is empty is one that is not set: docker-compose.yml passes many on
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    data_dir: Path = Path("data")
    models_dir: Path = Field(default_factory=default_models_dir)

    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password_file: Path | None = None

    host: str = "127.0.0.1"
    """Where the gateway listens; beyond loopback only where an access mode, or whoever runs it, says so."""
    port: int = 8000
    allow_non_loopback: bool = False
    """Set inside containers, where only the gateway can reach a service; else it lets the gateway be reached."""
    allowed_hosts: str = ""
    """Host names besides loopback ones that requests may name, separated by commas."""

    ingest_url: str = "http://127.0.0.1:8011"
    """Where a service asks whose a credential is while the broker is away."""
    local_key_path: Path | None = Field(None, validation_alias="DUBLINE_LOCAL_KEY_FILE")
    """This machine's own key (`shared.access.local_key`); not set: `secrets/local-key` in the data directory."""
    gateway_word: str = Field("", validation_alias="DUBLINE_GATEWAY_TOKEN", repr=False)
    gateway_word_file: Path | None = Field(None, validation_alias="DUBLINE_GATEWAY_TOKEN_FILE")
    """Where `gateway_token` lies, if it is not in the environment itself."""
    cookie_secure: bool = Field(default=True, validation_alias="COOKIE_SECURE")
    """False lets sessions travel over plain HTTP beyond this machine. Browsers treat loopback as secure anyway."""
    public_base_url: str = Field("", validation_alias="PUBLIC_BASE_URL")
    """How people reach this installation; its host name is served besides loopback ones."""
    remote_access_mode: Literal["off", "tailscale", "cloudflare"] = Field("off", validation_alias="REMOTE_ACCESS_MODE")
    allowed_subnets: Annotated[str, AfterValidator(_networks)] = Field("", validation_alias="ALLOWED_SUBNETS")
    """Networks of clients that may come in; empty: those of the access mode (docs/security.md)."""
    trusted_proxy_subnets: Annotated[str, AfterValidator(_networks)] = Field(
        "", validation_alias="TRUSTED_PROXY_SUBNETS"
    )
    """Proxies before the gateway whose X-Forwarded-For is believed; like the others separated by commas or spaces."""
    cloudflare_access_team_domain: str = Field("", validation_alias="CLOUDFLARE_ACCESS_TEAM_DOMAIN")
    cloudflare_access_aud: str = Field("", validation_alias="CLOUDFLARE_ACCESS_AUD")

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

    encrypt_at_rest: bool = Field(default=False, validation_alias="ENCRYPT_AT_REST")
    """Seal new files of the classes below (docs/encryption.md); without a usable key nothing starts."""
    encrypt_classes: str = Field("uploads,audio,transcripts,outputs", validation_alias="ENCRYPT_CLASSES")
    artifacts_key: SecretStr = Field(SecretStr(""), validation_alias="ARTIFACTS_KEY")
    """The key itself, 32 bytes in Base64."""
    artifacts_key_file: Path | None = Field(None, validation_alias="ARTIFACTS_KEY_FILE")
    """A file of keys, one on each line: the first seals, all open. Not set: `secrets/artifacts-key`, if it is there."""
    plain_dir: Path | None = None
    """Where programs get the plain bytes of a sealed file, in files without names; not set: on the data's own disk."""

    @cached_property
    def layout(self) -> Layout:
        """The paths below `data_dir`."""
        return Layout(self.data_dir.resolve())

    @property
    def allowed_host_names(self) -> tuple[str, ...]:
        """`allowed_hosts`, split."""
        names = [*self.allowed_hosts.split(","), urlsplit(self.public_base_url).hostname or ""]
        return tuple(name.strip() for name in names if name.strip())

    @cached_property
    def gateway_token(self) -> str:
        """A word that the gateway shows: it is believed what it says of a client, and files are handed off to it.

        The services show it to each other too. Raises OSError.
        """
        return self.gateway_word or (self.gateway_word_file.read_text().strip() if self.gateway_word_file else "")

    @property
    def local_key_file(self) -> Path:
        """Where this machine's own key lies."""
        return self.local_key_path or self.layout.local_key

    @property
    def session_cookie(self) -> str:
        """The name of the browser's session cookie."""
        return SESSION_COOKIE if self.cookie_secure else PLAIN_SESSION_COOKIE

    def nats_password(self) -> str | None:
        """Return the broker password of this service, or None where the broker has no accounts (tests)."""
        return self.nats_password_file.read_text().strip() if self.nats_password_file else None
