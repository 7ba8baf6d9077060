"""What the routes share: the parts of the service, held by the application.

Lives here: their type and how a route gets them.
"""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from services.ingest.accounts.accounts import Accounts
from services.ingest.bus import Bus
from services.ingest.projects import Projects
from services.ingest.settings import IngestSettings
from services.ingest.submission import Submissions
from services.ingest.uploads.uploads import Uploads
from services.ingest.workers import Workers


@dataclass(frozen=True)
class Service:
    """One ingest process."""

    settings: IngestSettings
    bus: Bus
    workers: Workers
    submissions: Submissions
    projects: Projects
    accounts: Accounts
    uploads: Uploads


async def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


FromApp = Annotated[Service, Depends(_service)]
