"""Ingest's own configuration."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from services.ingest.keeping import KeepingFields
from shared.keeping import CachePolicy
from shared.loopback import is_loopback
from shared.media_policy import MediaLimits
from shared.settings import Settings


class IngestSettings(Settings):
    """`DUBLINE_INGEST_HOST`, `DUBLINE_INGEST_PORT` and so on, besides what all services read."""

    ingest_host: str = "127.0.0.1"
    ingest_port: int = 8011
    ingest_http: Literal["auto", "h11", "httptools"] = "auto"
    """The HTTP parser; `auto` is httptools where it is installed."""
    media_check_timeout_s: float = 400.0
    """Reading a film of two hours through on a slow disk takes minutes."""
    max_video_width: int = Field(0, ge=0, validation_alias="MAX_VIDEO_WIDTH")
    max_video_height: int = Field(0, ge=0, validation_alias="MAX_VIDEO_HEIGHT")
    max_video_pixels: int = Field(0, ge=0, validation_alias="MAX_VIDEO_PIXELS")
    """Limits on the picture besides 8K, which always holds; 0: none. Pixels are width times height."""
    body_idle_s: float = 60.0
    """An upload that sends nothing for so long is dropped."""

    oidc_issuer: str = Field("", validation_alias="OIDC_ISSUER")
    """The OpenID provider that people may sign in with, as its ID tokens name it; empty: none."""
    oidc_client_id: str = Field("", validation_alias="OIDC_CLIENT_ID")
    oidc_client_secret_file: Path | None = Field(None, validation_alias="OIDC_CLIENT_SECRET_FILE")
    """Not set: a public client, which PKCE alone protects."""
    oidc_create_users: bool = Field(default=False, validation_alias="OIDC_CREATE_USERS")
    """Whether the provider's people get an account at their first sign-in."""
    oidc_default_role: Literal["viewer", "operator", "editor"] = Field("viewer", validation_alias="OIDC_DEFAULT_ROLE")
    """Theirs then. An admin is made by an admin."""
    oidc_allowed_domains: str = Field("", validation_alias="OIDC_ALLOWED_DOMAINS")
    """Domains of proved e-mail addresses, separated by commas, whose people may come in; empty: all."""

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> Self:
        """Half of a configuration stops the service at its start, not the first person who signs in."""
        if not self.oidc_issuer:
            return self
        issuer = urlsplit(self.oidc_issuer)
        is_private = issuer.scheme == "http" and is_loopback(issuer.hostname or "")
        if not issuer.hostname or not (issuer.scheme == "https" or is_private) or issuer.query or issuer.fragment:
            raise ValueError("OIDC_ISSUER is an https address without a query.")
        if not (self.oidc_client_id and self.public_base_url):
            raise ValueError("OIDC_ISSUER also needs OIDC_CLIENT_ID and PUBLIC_BASE_URL.")
        return self

    @property
    def oidc_domains(self) -> frozenset[str]:
        """`oidc_allowed_domains`, split, in lower case."""
        names = self.oidc_allowed_domains.lower().split(",")
        return frozenset(name.strip().lstrip("@") for name in names if name.strip())

    upload_chunk_bytes: int = Field(5 << 20, ge=256 << 10, le=20 << 20, validation_alias="UPLOAD_CHUNK_BYTES")
    """The size of a chunk of `POST /api/uploads/init`, 256 KiB to 20 MiB; the last one of an upload may be smaller."""
    max_open_uploads: int = Field(16, ge=1, validation_alias="MAX_OPEN_UPLOADS")
    """Uploads of one user that are neither a job's source yet nor gone."""
    max_open_upload_mb: int = Field(16384, ge=1, validation_alias="MAX_OPEN_UPLOAD_MB")
    """What all of these may take together, arrived or not; one upload of MAX_UPLOAD_MB always fits."""
    upload_ttl_h: float = Field(24.0, gt=0, validation_alias="UPLOAD_TTL_HOURS")
    """An upload that is not finished so long after its creation goes, and one that no job was made of in so long."""

    cache_policy: CachePolicy = Field("full", validation_alias="CACHE_POLICY")
    privacy_mode: bool = Field(default=False, validation_alias="PRIVACY_MODE")
    no_store_transcript: bool = Field(default=False, validation_alias="NO_STORE_TRANSCRIPT")
    no_store_source_audio: bool = Field(default=False, validation_alias="NO_STORE_SOURCE_AUDIO")
    minimal_artifacts: bool = Field(default=False, validation_alias="MINIMAL_ARTIFACTS")
    """What is kept of jobs whose submissions do not say it themselves."""

    @property
    def keeping(self) -> KeepingFields:
        """The same as a submission would say it."""
        names = KeepingFields.model_fields.keys() - {"privacy"}
        return KeepingFields(**{name: getattr(self, name) for name in names})

    @property
    def max_open_upload_bytes(self) -> int:
        return max(self.max_open_upload_mb, self.max_upload_mb) << 20

    @property
    def media_limits(self) -> MediaLimits:
        """What a film may be."""
        return MediaLimits(self.max_video_min, self.max_video_width, self.max_video_height, self.max_video_pixels)

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb << 20

    @property
    def min_free_bytes(self) -> int:
        """Uploads stop before the disk is fuller than this, so that the services keep working."""
        return int(self.min_free_gb * (1 << 30))
