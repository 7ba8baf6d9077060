"""`GET /metrics` in Prometheus' text format, the same from every service.

Lives here: the registry and the answer. Does not live here: any metric (each service's own `metrics`).
Metrics are for the one who runs Dubline: the gateway does not route this path, and no label names a user or a job.
"""

from collections.abc import Awaitable, Callable, Iterable

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest

PATH = "/metrics"


class Registry(CollectorRegistry):
    """A service's metrics, without the `_created` time that the client library adds to each and nobody reads."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def exposition(registry: Registry) -> Response:
    """Return what Prometheus is told at one scrape."""
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def install(app: FastAPI, registry: Registry, refresh: Callable[[], Awaitable[None]] | None = None) -> None:
    """Serve the registry, after `refresh` has set what is only known by asking."""

    async def answer() -> Response:  # on the event loop: gauges read the service's own state
        if refresh is not None:
            await refresh()
        return exposition(registry)

    app.add_api_route(PATH, answer, include_in_schema=False)
