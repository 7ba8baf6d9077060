"""Templates, and what is sent around every page.

Lives here: the environment, headers, the frame with who is signed in, the page of a refusal. Titles are users' file
names: every template escapes, and the policy below lets no script run but our own files. Does not live here: what a
page is given (the modules beside).
"""

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import Scope

from services.library.pages import kept, profiles, told, words
from shared.access.current import CSRF, PRINCIPAL
from shared.problems import Problem

PAGE_HEADERS = {
    "Content-Security-Policy": (
        # blob: for a video that was just chosen, whose length its own page reads
        "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "language": words.language,
    "issue": words.issue_words,
    "setting_reason": words.setting_reason,
    "clock": words.clock,
    "took": words.took,
    "size": words.size,
    "moment": words.moment,
    "file_words": words.file_words,
    "told": told.in_words,
    "kept_words": kept.kept_words,
    "setting_name": profiles.setting_name,
    "profile_words": profiles.profile_words,
}
_TEMPLATES.globals |= {
    "attempt_words": words.attempt_words,
    "delivery_words": words.delivery_words,
    "lowered": words.lowered,
    "device_names": words.DEVICE_NAMES,
    "mode_names": words.MODE_NAMES,
    "profile_fields": profiles.FIELDS,
    "stage_names": words.STAGE_NAMES,
    "state_names": words.STATE_NAMES,
    "status_names": words.STATUS_NAMES,
    "visibility_names": words.VISIBILITY_NAMES,
    "role_names": words.ROLE_NAMES,
    "scope_names": words.SCOPE_NAMES,
}


def page(scope: Scope, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page for whoever asks: `scope` is the request's, in which the guard says who that is.

    Templates know them as `me`, None on a public page for somebody who is not signed in.
    """
    frame = {"me": scope.get(PRINCIPAL), "csrf": scope.get(CSRF, "")}
    return HTMLResponse(_TEMPLATES.get_template(name).render(**frame, **values), status, PAGE_HEADERS)


def refusal(scope: Scope, problem: Problem) -> HTMLResponse:
    """Return a refusal of the API as a page, in its own words and with its status."""
    title = words.REFUSALS.get(problem.status, words.NOT_HERE)
    return page(scope, "problem.html", problem.status, title=title, detail=problem.detail)
