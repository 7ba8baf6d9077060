"""What every way in ends with: the answer, the session's cookie, and the body that asks.

Lives here: those, for the routes. Does not live here: who may come in (`services.ingest.accounts`).
"""

import json
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.tokens import Issued
from services.ingest.accounts.users import User
from shared.access.credentials import csrf_token
from shared.access.principal import Role
from shared.problems import Problem
from shared.settings import Settings

JSON = "application/json"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
NO_STORE = {"Cache-Control": "no-store"}
CLEAR_SITE_DATA = '"cache", "cookies", "storage"'

ModelT = TypeVar("ModelT", bound=BaseModel)


class SignedInAnswer(BaseModel):
    """Who came in. With a session the cookie is set, and there are no tokens; else there are, and no cookie."""

    id: str = Field(examples=["u_0123456789abcdef"])
    username: str = Field(examples=["maria"])
    role: Role = Field(examples=["operator"])
    csrf_token: str = Field(
        examples=["c2Vzc2lvbi1ib3VuZC10b2tlbi1leGFtcGxlLTAwMDAwMDA"],
        description="For X-CSRF-Token, with a session; empty with tokens, which no browser sends by itself.",
    )
    expires_in: int = Field(examples=[900], description="Seconds until the access token, or the session, ends.")
    access_token: str | None = Field(None, examples=["duba_…"])
    token_type: Literal["bearer"] | None = None
    refresh_token: str | None = Field(None, examples=["dubr_…"])


def answer(user: User, credential: Opened | Issued, settings: Settings, now: float, status: int = 200) -> JSONResponse:
    """Return the response that lets somebody in, complete with its body before any header is counted (V2)."""
    body = SignedInAnswer(
        id=user.id,
        username=user.username,
        role=user.role,
        csrf_token=csrf_token(credential.token) if isinstance(credential, Opened) else "",
        expires_in=max(0, round(credential.expires_at - now)),
    )
    if isinstance(credential, Issued):
        body.access_token, body.token_type, body.refresh_token = credential.access, "bearer", credential.refresh
    response = JSONResponse(body.model_dump(exclude_none=True), status, NO_STORE)
    if isinstance(credential, Opened):
        set_session(response, settings, credential, now)
    return response


def set_session(response: Response, settings: Settings, opened: Opened, now: float) -> None:
    """Give the browser its session: for this host alone, out of reach of scripts, not for other sites' requests."""
    response.set_cookie(
        settings.session_cookie,
        opened.token,
        max_age=max(0, round(opened.expires_at - now)),
        path="/",
        secure=settings.cookie_secure,
        httponly=True,
        samesite="lax",
    )


def clear_session(response: Response, settings: Settings) -> None:
    """Take the session's cookie back, and what the browser keeps of us."""
    response.delete_cookie(
        settings.session_cookie, path="/", secure=settings.cookie_secure, httponly=True, samesite="lax"
    )
    response.headers["Clear-Site-Data"] = CLEAR_SITE_DATA
    response.headers.update(NO_STORE)


def body_of(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that `read` reads."""
    described = {"schema": model.model_json_schema(), "example": example}
    return {"requestBody": {"required": True, "content": dict.fromkeys((JSON, FORMS[0]), described)}}


async def read(request: Request, model: type[ModelT]) -> ModelT:
    """Return the body, which is JSON or a form. An empty field of a form was not filled in.

    Raises Problem 400 `malformed_json`, 415, 422; HTTPException 400 for a form that cannot be read.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == JSON:
        try:
            values = json.loads(await request.body())
        except (ValueError, RecursionError) as error:  # the latter of thousands of brackets
            raise Problem(400, "malformed_json", "The body is not JSON.") from error
        return _checked(model, values, strict=True)
    if kind in FORMS:
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if value != ""}
        return _checked(model, fields, strict=False)
    raise Problem(415, "unsupported_body", f"Send {JSON}, or a form.")


def time_of(seconds: float) -> datetime:
    """Return a time of auth.db as answers show it."""
    return datetime.fromtimestamp(seconds, UTC)


def _checked(model: type[ModelT], values: Any, *, strict: bool) -> ModelT:
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as error:
        errors = [{"where": ".".join(map(str, e["loc"]))[:80], "what": e["msg"]} for e in error.errors()]
        detail = "; ".join(f"{e['where']}: {e['what']}" for e in errors)
        raise Problem(422, "invalid_request", f"{detail}.", errors=errors) from None
