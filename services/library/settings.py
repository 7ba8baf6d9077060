"""What only the library reads from its environment.

Lives here: the library's own variables. Shared ones are in `shared.settings`.
"""

from typing import Literal, Self

from pydantic import model_validator

from shared.settings import Settings


class LibrarySettings(Settings):
    """`DUBLINE_LIBRARY_HOST` and `DUBLINE_LIBRARY_PORT`: where the gateway finds the library."""

    library_host: str = "127.0.0.1"
    library_port: int = 8014
    library_stop_timeout_s: int = 5
    """Seconds that open downloads get after SIGTERM; event streams are closed at once."""

    files_handoff: Literal["off", "caddy"] = "off"
    """Who sends files that are asked for through the gateway: the library, or the gateway by the library's leave."""

    @property
    def handoff_token(self) -> str:
        """The word that a gateway shows, empty where nothing is handed off."""
        return self.gateway_token if self.files_handoff == "caddy" else ""

    @model_validator(mode="after")
    def _handoff_has_a_token(self) -> Self:
        if self.files_handoff == "caddy" and not self.gateway_token:
            raise ValueError(
                "DUBLINE_FILES_HANDOFF=caddy needs DUBLINE_GATEWAY_TOKEN or _TOKEN_FILE, here and in the gateway"
            )
        return self
