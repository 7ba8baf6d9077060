"""Following a job over HTTP until it ends, through restarts of whatever is in between.

Lives here: server-sent events with resume, polling where they are not to be had. Does not live here: what is shown
(`dub_view`).
"""

import json
import time
from collections.abc import Callable, Iterator

import httpx

from services.standalone.dub_view import Display, JobShown

GIVE_UP_S = 60.0
"""Without any answer for so long, the server is gone rather than restarting."""
PAUSE_S = 1.0
SILENCE_S = 40.0
"""The stream says something every 15 s, if only that it is still there."""

Event = tuple[str, str]


class ServerGoneError(Exception):
    """Nothing answers any more. The job itself is not affected."""


class Follower:
    """Keeps a display up to date with one job."""

    def __init__(
        self, client: httpx.Client, job_id: str, display: Display, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._url = f"/api/jobs/{job_id}"
        self._display = display
        self._clock = clock
        self._last_event_id: str | None = None
        self._answered_at = clock()
        self._job: JobShown | None = None

    def until_finished(self) -> JobShown:
        """Return the job in its final state. Raises ServerGoneError."""
        while True:
            try:
                self._look()
                if self._job is None or not self._job.finished:
                    self._listen()
            except httpx.HTTPError:
                self._missed()
            if self._job is not None and self._job.finished:
                return self._job
            time.sleep(PAUSE_S)

    def _look(self) -> None:
        """Read the job. Just after the submission the library may not know it yet: that is not an answer."""
        answer = self._client.get(self._url)
        if answer.status_code != httpx.codes.OK:
            self._missed()
            return
        self._answered_at = self._clock()
        self._job = JobShown.model_validate_json(answer.content)
        self._display.update(self._job)

    def _listen(self) -> None:
        """Read events until the job has finished or the stream ends. Every stored event means: look again."""
        headers = {"Accept": "text/event-stream"}
        if self._last_event_id is not None:
            headers["Last-Event-ID"] = self._last_event_id
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        with self._client.stream("GET", f"{self._url}/events", headers=headers, timeout=timeout) as stream:
            if stream.status_code != httpx.codes.OK:
                return  # polled by `until_finished` instead
            for kind, data in self._events(stream):
                self._answered_at = self._clock()
                if kind == "progress":
                    self._progress(data)
                else:
                    self._look()
                if self._job is not None and self._job.finished:
                    return

    def _events(self, stream: httpx.Response) -> Iterator[Event]:
        """Parse the stream (WHATWG HTML, "server-sent events")."""
        kind, data = "message", ""
        for line in stream.iter_lines():
            if not line:
                if data:
                    yield kind, data
                kind, data = "message", ""
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data += value
            elif name == "id":
                self._last_event_id = value

    def _progress(self, data: str) -> None:
        try:
            told = json.loads(data)
            stage, attempt, fraction = str(told["stage"]), int(told["attempt"]), float(told["fraction"])
        except (ValueError, KeyError, TypeError):
            return  # a newer server's progress may look otherwise; the stages' states still tell the story
        if self._job is not None:
            self._job = self._job.with_fraction(stage, attempt, fraction)
            self._display.update(self._job)

    def _missed(self) -> None:
        if self._clock() - self._answered_at > GIVE_UP_S:
            raise ServerGoneError
        self._display.note("Waiting for the server…")
