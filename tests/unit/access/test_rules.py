"""The table of a service: which line a request falls under, and that none is missing."""

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.staticfiles import StaticFiles

from shared.access.rules import PUBLIC, SIGNED_IN, Rules, check_whole, lines_of

RULES = Rules(
    {
        "GET /": "read:job",
        "GET /jobs/events": SIGNED_IN,
        "GET /jobs/{job_id}": "read:job",
        "GET /jobs/{job_id}/logs": "edit:job",
        "GET /files/{path:path}": PUBLIC,
        "HEAD /uploads/{upload_id}": "submit:job",
        "DELETE /jobs/{job_id}": "submit:job",
        "POST /jobs/batch": "submit:job",
    }
)


@pytest.mark.parametrize(
    ("method", "path", "rule"),
    [
        ("GET", "/", "read:job"),
        ("GET", "/jobs/events", SIGNED_IN),
        ("GET", "/jobs/1", "read:job"),
        ("GET", "/jobs/events/logs", "edit:job"),
        ("HEAD", "/jobs/events", SIGNED_IN),
        ("DELETE", "/jobs/1", "submit:job"),
        ("POST", "/jobs/batch", "submit:job"),
        ("GET", "/files/a/b/../c", PUBLIC),
        ("GET", "/files/", PUBLIC),
        ("HEAD", "/jobs/1", "read:job"),
        ("HEAD", "/uploads/1", "submit:job"),
        ("GET", "/uploads/1", None),
        ("POST", "/jobs/1", None),
        ("GET", "/jobs", None),
        ("GET", "/jobs/1/logs/2", None),
        ("GET", "/files", None),
        ("get", "/jobs/1", None),
        ("GET", "jobs/1", None),
        ("GET", "*", None),
        ("GET", "", None),
    ],
)
def test_the_line_of_a_request(method: str, path: str, rule: object) -> None:
    assert RULES.find(method, path) == rule


@pytest.mark.parametrize("path", ["/files/{name}.json", "/files/v{number}", "/files/{a}-{b}", "/files/{a}{b}"])
def test_a_path_that_segments_cannot_tell_is_no_line(path: str) -> None:
    with pytest.raises(ValueError, match="whole segment"):
        Rules({f"GET {path}": PUBLIC})


def test_a_path_that_is_written_out_is_no_object_for_other_methods() -> None:
    for method, path in (("DELETE", "/jobs/events"), ("GET", "/jobs/batch"), ("HEAD", "/jobs/batch")):
        assert RULES.find(method, path) is None, (method, path)
    assert RULES.methods("/jobs/events") == {"GET", "HEAD"}
    assert RULES.methods("/jobs/batch") == {"POST"}


def test_methods_of_a_path() -> None:
    assert RULES.methods("/jobs/1") == {"DELETE", "GET", "HEAD"}
    assert RULES.methods("/uploads/1") == {"HEAD"}
    assert RULES.methods("/nothing") == set()


def application() -> FastAPI:
    app, inner, outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter(), APIRouter()

    @inner.get("/me")
    @inner.post("/me")
    async def me() -> None: ...

    @inner.head("/only-head")
    async def head() -> None: ...

    @inner.websocket("/ws")
    async def socket(socket: WebSocket) -> None: ...

    outer.include_router(inner, prefix="/auth")
    outer.include_router(inner, prefix="/api/auth")
    app.include_router(outer)
    app.mount("/static", StaticFiles(directory="."))
    return app


LINES = {
    *("GET /auth/me", "POST /auth/me", "HEAD /auth/only-head", "WEBSOCKET /auth/ws"),
    *("GET /api/auth/me", "POST /api/auth/me", "HEAD /api/auth/only-head", "WEBSOCKET /api/auth/ws"),
    "GET /static/{path:path}",
}


def test_routes_of_included_routers_need_lines_under_each_prefix() -> None:
    assert lines_of(application().routes) == LINES
    check_whole(Rules(dict.fromkeys(LINES, PUBLIC)), application().routes)


def test_a_route_without_a_line_and_a_line_without_a_route_keep_a_service_from_starting() -> None:
    table = dict.fromkeys(LINES, PUBLIC)
    with pytest.raises(ValueError, match=r"without a rule.*POST /auth/me"):
        check_whole(Rules({line: PUBLIC for line in LINES if line != "POST /auth/me"}), application().routes)
    with pytest.raises(ValueError, match=r"rules without a route.*GET /old"):
        check_whole(Rules(table | {"GET /old": PUBLIC}), application().routes)
