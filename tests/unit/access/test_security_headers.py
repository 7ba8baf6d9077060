"""What browsers are told with every answer, errors included."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from shared import problem_handlers
from shared.access.security_headers import SecurityHeaders
from tests.unit.access.asking import Answered, ask


async def told(response: Response, path: str = "/", **scope: Any) -> Answered:
    return await ask(SecurityHeaders(response), "GET", path, **scope)


async def test_every_answer_is_told_to_be_taken_for_what_it_is_and_framed_by_nobody() -> None:
    headers = (await told(PlainTextResponse("x"))).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == "no-store"
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(headers["content-security-policy"].split("; "))


async def test_a_page_runs_no_script_but_our_files() -> None:
    policy = (await told(HTMLResponse("<p>"))).headers["content-security-policy"]
    for part in ("script-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy.split("; ")
    assert "unsafe" not in policy


async def test_a_file_of_a_user_is_in_a_sandbox() -> None:
    assert (await told(HTMLResponse("<p>"), "/files/a.html")).headers["content-security-policy"].startswith("sandbox;")


async def test_what_the_application_says_itself_stays() -> None:
    said = {"Cache-Control": "private, no-cache", "Content-Security-Policy": "none", "Referrer-Policy": "same-origin"}
    headers = (await told(HTMLResponse("<p>", headers=said))).headers
    assert {name: headers[name.lower()] for name in said} == said


async def test_static_files_may_be_kept() -> None:
    assert "cache-control" not in (await told(PlainTextResponse("x"), "/static/a.css")).headers


async def test_only_an_encrypted_answer_asks_to_stay_encrypted() -> None:
    assert "strict-transport-security" not in (await told(PlainTextResponse("x"))).headers
    encrypted = (await told(PlainTextResponse("x"), scheme="https")).headers["strict-transport-security"]
    assert int(encrypted.removeprefix("max-age=")) >= 31536000


@pytest.mark.parametrize("path", ["/", "/files/x", "/static/x"])
async def test_v3_no_value_begins_or_ends_with_a_space(path: str) -> None:
    for response in (HTMLResponse("<p>"), PlainTextResponse("x")):
        headers = (await told(response, path, scheme="https")).headers
        assert all(value == value.strip() and value for value in headers.values())


async def test_a_crash_is_told_so_too() -> None:
    app = FastAPI()
    problem_handlers.install(app)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: SecurityHeaders(build())  # type: ignore[method-assign]

    async def served(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(RuntimeError):  # it answers first, and tells the server then
            await app(scope, receive, send)

    answered = await ask(served, "GET", "/crash")
    assert answered.status == 500
    assert answered.headers["x-content-type-options"] == "nosniff"
