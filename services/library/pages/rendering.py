"""Templates, and what is sent around every page.

Lives here: the environment, headers, the page of a refusal. Titles are users' file names: every template escapes, and
the policy below lets no script run but our own files. Does not live here: what a page is given (the modules beside).
"""

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.library.pages import told, words
from shared.problems import Problem

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
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
}
_TEMPLATES.globals |= {
    "attempt_words": words.attempt_words,
    "delivery_words": words.delivery_words,
    "lowered": words.lowered,
    "mode_names": words.MODE_NAMES,
    "stage_names": words.STAGE_NAMES,
    "state_names": words.STATE_NAMES,
    "status_names": words.STATUS_NAMES,
    "visibility_names": words.VISIBILITY_NAMES,
}


def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), status, PAGE_HEADERS)


def refusal(problem: Problem) -> HTMLResponse:
    """Return a refusal of the API as a page, in its own words and with its status."""
    return page("problem.html", problem.status, detail=problem.detail)
