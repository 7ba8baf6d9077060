"""Which credential each route of the scheduler asks for (`shared.access.rules`)."""

from shared.access.rules import PUBLIC, SIGNED_IN, Table

TABLE: Table = {
    "GET /api/runtime/models": "admin:*",
    "GET /api/runtime/state": "read:job",
    "GET /api/scheduler.json": SIGNED_IN,
    "GET /livez": PUBLIC,
    # The gateway passes none of these on; who reaches the service itself runs it.
    "GET /metrics": PUBLIC,
    "GET /readyz": PUBLIC,
}
