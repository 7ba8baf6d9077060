"""`dubline runtime` and `dubline job`: what an operator sees and does, over the HTTP API that everyone uses.

Lives here: requests, and what their answers mean for the exit code. Does not live here: arguments (`cli`), tables
(`runtime_view`).
"""

import time
from collections.abc import Iterable
from typing import Any

import httpx
from pydantic import ValidationError
from rich.console import Console, RenderableType
from rich.live import Live

from services.standalone.credential import credential_headers, sign_in_hint
from services.standalone.direct import transport_to
from services.standalone.dub import CONNECT_TIMEOUT_S, RefusedError, UnavailableError
from services.standalone.runtime_view import models_tables, state_tables
from shared.runtime_state import RuntimeModels, RuntimeState

ANSWER_TIMEOUT_S = 30.0
WATCH_S = 2.0


class ConflictError(Exception):
    """The server understood, and the job's state does not allow it; the text is its reason."""


class Api:
    """One server's HTTP API. Every method raises RefusedError, ConflictError, UnavailableError."""

    def __init__(self, server: str) -> None:
        self._server = server

    def get(self, path: str, parameters: dict[str, Any] | None = None) -> httpx.Response:
        return self._send("GET", path, None, parameters)

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._send("POST", path, body).json()
        assert isinstance(answer, dict)
        return answer

    def _send(self, method: str, path: str, body: Any, parameters: dict[str, Any] | None = None) -> httpx.Response:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            with httpx.Client(timeout=timeout, transport=transport_to(self._server), trust_env=False) as client:
                answer = client.request(
                    method,
                    self._server + path,
                    params=parameters,
                    json=body,
                    headers=credential_headers(self._server),
                )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise RefusedError(
                f"{self._server!r} is not an address: name one such as http://127.0.0.1:8000."
            ) from error
        except httpx.TransportError as error:
            raise UnavailableError(f"{self._server} does not answer ({type(error).__name__}).") from error
        if answer.is_success:
            return answer
        reason = sign_in_hint(answer) or _reason(answer)
        if answer.status_code == httpx.codes.CONFLICT:
            raise ConflictError(reason)
        raise UnavailableError(reason) if answer.status_code >= 500 else RefusedError(reason)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code}."


def show_state(server: str, console: Console, *, as_json: bool = False, watch: bool = False) -> None:
    """Print what runs, what waits and why; with `watch` again and again until Ctrl-C.

    Raises RefusedError, UnavailableError; while watching, a server that is away is waited for.
    """
    api = Api(server)
    if not watch:
        _print(console, _state(api, console, as_json=as_json))
        return
    if as_json or not console.is_terminal:
        while True:
            _print(console, _watched(api, console, as_json=as_json))
            time.sleep(WATCH_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_watched(api, console, as_json=False), refresh=True)
            time.sleep(WATCH_S)


def _print(console: Console, shown: RenderableType) -> None:
    console.print(shown, markup=False, highlight=False, soft_wrap=isinstance(shown, str))


def _watched(api: Api, console: Console, *, as_json: bool) -> RenderableType:
    try:
        return _state(api, console, as_json=as_json)
    except UnavailableError as error:
        return f"{error} Trying again…"


def _state(api: Api, console: Console, *, as_json: bool) -> RenderableType:
    answer = api.get("/api/runtime/state")
    if as_json:
        return answer.text
    try:
        return state_tables(RuntimeState.model_validate_json(answer.content), console.width)
    except ValidationError as error:
        raise UnavailableError("The server tells its state in a way that this version cannot read.") from error


def show_models(server: str, console: Console, *, as_json: bool = False) -> None:
    """Print which worker has which models, and how far prewarming is. Raises RefusedError, UnavailableError."""
    answer = Api(server).get("/api/runtime/models")
    if as_json:
        _print(console, answer.text)
        return
    try:
        _print(console, models_tables(RuntimeModels.model_validate_json(answer.content)))
    except ValidationError as error:
        raise UnavailableError("The server tells its models in a way that this version cannot read.") from error


def prewarm(server: str, preset: str) -> str:
    """Ask every worker to fetch and load what a mode needs; return what to say.

    Raises RefusedError, UnavailableError.
    """
    task = Api(server).post(f"/api/runtime/models/prewarm?preset={preset}")["task_id"]
    return f"Prewarming {preset} as task {task}; `dubline runtime models` tells how far it is."


def set_limits(server: str, assignments: Iterable[str]) -> str:
    """Change limits; return what to say. Raises RefusedError, also for what is no NAME=VALUE, UnavailableError."""
    overrides = dict(_assignment(text) for text in assignments)
    in_force = Api(server).post("/api/runtime/limits", {"overrides": overrides})["overrides"]
    if not in_force:
        return "No limit is overridden now."
    return "Overridden now: " + ", ".join(f"{name}={value:g}" for name, value in sorted(in_force.items()))


def _assignment(text: str) -> tuple[str, int | float | None]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RefusedError(f"{text!r} is not NAME=VALUE. An empty VALUE resets the limit.")
    try:
        return name.upper(), None if not value else int(value) if value.isdecimal() else float(value)
    except ValueError as error:
        raise RefusedError(f"{value!r} is not a number.") from error


def control_job(server: str, job_id: str, verb: str, priority: int | None = None) -> str:
    """Do one thing to a job; return what to say. Raises ConflictError, RefusedError, UnavailableError."""
    if not job_id.replace("-", "").isalnum():
        raise RefusedError(f"{job_id!r} is not the id of a job.")
    body = None if priority is None else {"priority": priority}
    job = Api(server).post(f"/api/jobs/{job_id}/{verb}", body)
    told = [f"Job {job['id']} is {job['state']}"]
    if job["pause_requested"]:
        told.append("it pauses when its running stage has ended")
    if verb == "rerun":
        told.append(f"run {job['run']}")
    if verb == "priority":
        told.append(f"priority {job['priority']}")
    return ", ".join(told) + "."
