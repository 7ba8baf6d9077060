"""`python -m services.ingest`: the service as a process.

Lives here: the server and its signals. Exit codes: 0 after SIGTERM or Ctrl-C, 78 for an address or a
sandbox that is refused, or encryption at rest or accounts that cannot work.
"""

import signal
import sys
from types import FrameType

import structlog
import uvicorn

from services.ingest.accounts.db import NewerDatabaseError
from services.ingest.app import create_app
from services.ingest.settings import IngestSettings
from shared.artifacts import set_rules
from shared.heap import keep_large_buffers
from shared.loopback import NotLoopbackError, check_listen_address
from shared.sandbox.at_start import settle_sandbox
from shared.sealing.keys import vault_or_exit
from shared.secret_files import UnusableSecretError
from shared.telemetry import configure_logging

EX_CONFIG = 78
DRAIN_S = 4
"""Requests under way at SIGTERM get so long; an upload that takes longer is dropped, and its client sends it again."""


def _exit_cleanly(_signal: int, _frame: FrameType | None) -> None:
    """uvicorn drains, puts our handler back and raises the signal again: then this ends the process with 0."""
    sys.exit(0)


def main() -> None:
    """Serve until a signal."""
    settings = IngestSettings()
    configure_logging("ingest", settings.log_level)
    try:
        check_listen_address(settings.ingest_host, allow_non_loopback=settings.allow_non_loopback)
    except NotLoopbackError as error:
        structlog.get_logger().error("refused_address", detail=str(error))
        sys.exit(EX_CONFIG)
    keep_large_buffers()
    settle_sandbox()
    set_rules(None, None, vault_or_exit(settings))  # what a submission imports is encrypted as what stages make is
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_cleanly)
    try:
        app = create_app(settings)
    except (NewerDatabaseError, UnusableSecretError) as error:
        structlog.get_logger().error("accounts_unusable", detail=str(error))
        sys.exit(EX_CONFIG)
    uvicorn.run(
        app,
        host=settings.ingest_host,
        port=settings.ingest_port,
        http=settings.ingest_http,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe about a client is the front's to say
        timeout_graceful_shutdown=DRAIN_S,
    )


if __name__ == "__main__":
    main()
