"""What only the library reads from its environment.

Lives here: the library's own variables. Shared ones are in `shared.settings`.
"""

from shared.settings import Settings


class LibrarySettings(Settings):
    """`DUBLINE_LIBRARY_HOST` and `DUBLINE_LIBRARY_PORT`: where the gateway finds the library."""

    library_host: str = "127.0.0.1"
    library_port: int = 8014
    library_stop_timeout_s: int = 5
    """Seconds that open downloads get after SIGTERM; event streams are closed at once."""
