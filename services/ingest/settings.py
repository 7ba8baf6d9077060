"""Ingest's own configuration."""

from typing import Literal

from shared.settings import Settings


class IngestSettings(Settings):
    """`DUBLINE_INGEST_HOST`, `DUBLINE_INGEST_PORT` and so on, besides what all services read."""

    ingest_host: str = "127.0.0.1"
    ingest_port: int = 8011
    ingest_http: Literal["auto", "h11", "httptools"] = "auto"
    """The HTTP parser; `auto` is httptools where it is installed."""
    media_check_timeout_s: float = 400.0
    """Reading a film of two hours through on a slow disk takes minutes."""
    body_idle_s: float = 60.0
    """An upload that sends nothing for so long is dropped."""

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb << 20

    @property
    def min_free_bytes(self) -> int:
        """Uploads stop before the disk is fuller than this, so that the services keep working."""
        return int(self.min_free_gb * (1 << 30))
