"""`python -m services.library`: the library service as a process.

Lives here: the start. Exit codes: 0 after SIGTERM or Ctrl-C, 78 for an address that is refused, or
encryption at rest that cannot work.
"""

import sys

import structlog
import uvloop

from services.library.service import serve
from services.library.settings import LibrarySettings
from shared.heap import keep_large_buffers
from shared.loopback import NotLoopbackError, check_listen_address
from shared.sealing.keys import vault_or_exit
from shared.telemetry import configure_logging

EX_CONFIG = 78


def main() -> None:
    """Run until a signal ends it."""
    settings = LibrarySettings()
    configure_logging("library", settings.log_level)
    try:
        check_listen_address(settings.library_host, allow_non_loopback=settings.allow_non_loopback)
    except NotLoopbackError as error:
        structlog.get_logger().error("refused_address", detail=str(error))
        sys.exit(EX_CONFIG)
    keep_large_buffers()
    uvloop.run(serve(settings, vault_or_exit(settings)))


if __name__ == "__main__":
    main()
