"""Proving oneself again before an account is changed: a session that somebody left open changes no factor.

Lives here: how recent a proof must be. Does not live here: proving it (`routes.auth`: sign-in and confirmation).
"""

from shared.access.principal import Principal
from shared.problems import Problem

RECENT_S = 300.0
"""The step-up window (reference: accounts and credentials)."""


def confirmed_until(principal: Principal) -> float:
    """Return until when this credential may change the account, in seconds since the epoch; 0 for one that may not."""
    return 0.0 if principal.confirmed_at is None else principal.confirmed_at.timestamp() + RECENT_S


def require_recent(principal: Principal, now: float) -> None:
    """Raise Problem 403 `confirmation_required` unless a password or code was shown within five minutes."""
    if now >= confirmed_until(principal):
        detail = "Show your password or a code again first: POST /api/auth/confirm. It counts for five minutes."
        raise Problem(403, "confirmation_required", detail)


def require_recent_person(principal: Principal, now: float) -> None:
    """As `require_recent`, but not of who holds this machine's own key: they may write the accounts anyway."""
    if principal.kind != "local":
        require_recent(principal, now)
