"""What each kind of caller may do with each route of all services: the expectation, written by hand.

Lives here: one line a route, and what its word means. Does not live here: asking (`test_authorisation`), and anything
that is taken from the services' own tables: those are what this one is compared with.
"""

from dataclasses import dataclass

ACTORS = (
    "nobody",
    "gone",
    "viewer",
    "operator",
    "stranger",
    "owner",
    "admin",
    "unfit key",
    "narrow key",
    "wide key",
)
"""Nobody shows no credential; gone, the session of a user who was disabled since; viewer, operator and stranger (an
editor) own nothing; the owner is an editor. The keys are the owner's, without the scope that the route asks for; the
admin's with `read:job` alone; the admin's with every scope."""

SIGNED_IN = frozenset(ACTORS) - {"nobody", "gone"}
PERSONS = SIGNED_IN - {"unfit key", "narrow key", "wide key"}
READERS = SIGNED_IN - {"unfit key"}
SUBMITTERS = frozenset({"operator", "stranger", "owner", "admin", "wide key"})
EDITORS = SUBMITTERS - {"operator"}
ADMINS = frozenset({"admin", "wide key"})
THEIRS = ADMINS | {"owner"}


@dataclass(frozen=True)
class Meaning:
    """Who is let in, and for whom the owner's object is not there. Others are refused: 403, or `unknown` for nobody."""

    let_in: frozenset[str]
    not_there: frozenset[str] = frozenset()
    unknown: str = "401"

    def outcome(self, actor: str) -> str:
        if actor in self.let_in:
            return "let in"
        if actor in self.not_there:
            return "404"
        return "403" if actor in SIGNED_IN else self.unknown


MEANINGS = {
    "everybody": Meaning(frozenset(ACTORS)),
    "signed in": Meaning(SIGNED_IN),
    "person": Meaning(PERSONS),
    "read": Meaning(READERS),
    "submit": Meaning(SUBMITTERS),
    "edit": Meaning(EDITORS),
    "admin": Meaning(ADMINS),
    "admin in person": Meaning(frozenset({"admin"})),
    "services alone": Meaning(frozenset(), unknown="403"),
    "owner+read": Meaning(THEIRS, READERS - THEIRS),
    "owner+submit": Meaning(THEIRS, SUBMITTERS - THEIRS),
    "owner+edit": Meaning(THEIRS, EDITORS - THEIRS),
    "owner+person": Meaning(THEIRS & PERSONS, PERSONS - THEIRS),
    "owner alone+submit": Meaning(frozenset({"owner"}), SUBMITTERS - {"owner"}),
    "owner alone+person": Meaning(frozenset({"owner"}), PERSONS - {"owner"}),
}
"""`owner+…`: the owner's object, for the owner and admins with that scope. `owner alone`: not even for an admin."""

TABLE = {
    "GET /": "read",
    "GET /api/admin/invites": "admin",
    "POST /api/admin/invites": "admin in person",
    "DELETE /api/admin/invites/{invite_id}": "admin in person",
    "GET /api/admin/users/{user_id}/settings": "admin",
    "PUT /api/admin/users/{user_id}/settings": "admin",
    "GET /api/audit/recent": "signed in",
    "POST /api/auth/confirm": "person",
    "POST /api/auth/login": "everybody",
    "POST /api/auth/logout": "signed in",
    "GET /api/auth/me": "signed in",
    "GET /api/auth/oidc/callback": "everybody",
    "GET /api/auth/oidc/login": "everybody",
    "POST /api/auth/oidc/second_factor": "everybody",
    "POST /api/auth/password": "person",
    "POST /api/auth/qr/approve": "person",
    "POST /api/auth/qr/deny": "person",
    "POST /api/auth/qr/init": "everybody",
    "POST /api/auth/qr/redeem": "everybody",
    "GET /api/auth/qr/waiting/{user_code}": "person",
    "POST /api/auth/refresh": "everybody",
    "POST /api/auth/reset": "everybody",
    "GET /api/auth/sessions": "person",
    "POST /api/auth/sessions/revoke_all": "person",
    "POST /api/auth/sessions/{device_id}/revoke": "owner alone+person",
    "GET /api/auth/state": "everybody",
    "GET /api/auth/totp": "person",
    "POST /api/auth/totp/disable": "person",
    "POST /api/auth/totp/recovery_codes": "person",
    "POST /api/auth/totp/setup": "person",
    "POST /api/auth/totp/verify": "person",
    "GET /api/events": "read",
    "GET /api/files": "submit",
    "GET /api/ingest.json": "signed in",
    "POST /api/invites/redeem": "everybody",
    "GET /api/jobs": "read",
    "POST /api/jobs": "submit",
    "POST /api/jobs/batch": "submit",
    "POST /api/jobs/estimate": "submit",
    "GET /api/jobs/events": "read",
    "DELETE /api/jobs/{job_id}": "owner+submit",
    "GET /api/jobs/{job_id}": "owner+read",
    "POST /api/jobs/{job_id}/archive": "owner+submit",
    "POST /api/jobs/{job_id}/cancel": "owner+submit",
    "GET /api/jobs/{job_id}/events": "owner+read",
    "GET /api/jobs/{job_id}/files": "owner+read",
    "POST /api/jobs/{job_id}/kill": "admin",
    "GET /api/jobs/{job_id}/logs": "owner+read",
    "GET /api/jobs/{job_id}/logs/stream": "owner+read",
    "GET /api/jobs/{job_id}/logs/tail": "owner+read",
    "GET /api/jobs/{job_id}/outputs": "owner+read",
    "POST /api/jobs/{job_id}/pause": "owner+submit",
    "POST /api/jobs/{job_id}/priority": "owner+submit",
    "POST /api/jobs/{job_id}/rerun": "owner+submit",
    "POST /api/jobs/{job_id}/resume": "owner+submit",
    "GET /api/jobs/{job_id}/stream/manifest": "owner+read",
    "PUT /api/jobs/{job_id}/tags": "owner+submit",
    "POST /api/jobs/{job_id}/unarchive": "owner+submit",
    "POST /api/jobs/{job_id}/visibility": "owner+submit",
    "GET /api/keys": "person",
    "POST /api/keys": "person",
    "DELETE /api/keys/{key_id}": "owner+person",
    "POST /api/keys/{key_id}/revoke": "owner+person",
    "GET /api/languages": "read",
    "GET /api/library.json": "signed in",
    "GET /api/library/stats": "read",
    "GET /api/presets": "read",
    "POST /api/presets": "edit",
    "DELETE /api/presets/{preset_id}": "owner+edit",
    "GET /api/presets/{preset_id}": "owner+read",
    "PUT /api/presets/{preset_id}": "owner+edit",
    "GET /api/project-profiles": "read",
    "GET /api/projects": "read",
    "POST /api/projects": "edit",
    "DELETE /api/projects/{project_id}": "owner+edit",
    "GET /api/projects/{project_id}": "owner+read",
    "PUT /api/projects/{project_id}": "owner+edit",
    "POST /api/runtime/limits": "admin",
    "GET /api/runtime/models": "admin",
    "POST /api/runtime/models/prewarm": "admin",
    "GET /api/runtime/state": "read",
    "GET /api/scheduler.json": "signed in",
    "GET /api/settings": "signed in",
    "PUT /api/settings": "submit",
    "GET /api/settings/left": "read",
    "POST /api/setup": "everybody",
    "GET /api/tags": "read",
    "POST /api/uploads/init": "submit",
    "OPTIONS /api/uploads/tus": "submit",
    "POST /api/uploads/tus": "submit",
    "DELETE /api/uploads/tus/{upload_id}": "owner+submit",
    "HEAD /api/uploads/tus/{upload_id}": "owner alone+submit",
    "OPTIONS /api/uploads/tus/{upload_id}": "submit",
    "PATCH /api/uploads/tus/{upload_id}": "owner alone+submit",
    "DELETE /api/uploads/{upload_id}": "owner+submit",
    "GET /api/uploads/{upload_id}": "owner alone+submit",
    "POST /api/uploads/{upload_id}/chunk": "owner alone+submit",
    "POST /api/uploads/{upload_id}/complete": "owner alone+submit",
    "GET /api/uploads/{upload_id}/status": "owner alone+submit",
    "GET /api/users": "admin",
    "GET /api/users/{user_id}": "admin",
    "PUT /api/users/{user_id}": "admin in person",
    "POST /api/users/{user_id}/password_reset": "admin in person",
    "GET /api/webhooks": "read",
    "POST /api/webhooks": "edit",
    "DELETE /api/webhooks/{webhook_id}": "owner+edit",
    "GET /api/webhooks/{webhook_id}": "owner+read",
    "PUT /api/webhooks/{webhook_id}": "owner+edit",
    "GET /api/webhooks/{webhook_id}/deliveries": "owner+read",
    "POST /api/webhooks/{webhook_id}/deliveries/{message}/resend": "owner+edit",
    "POST /api/webhooks/{webhook_id}/rotate": "owner+edit",
    "POST /api/webhooks/{webhook_id}/test": "owner+edit",
    "POST /auth/login": "everybody",
    "POST /auth/logout": "signed in",
    "POST /auth/qr/init": "everybody",
    "POST /auth/qr/redeem": "everybody",
    "POST /auth/refresh": "everybody",
    "GET /auth/sessions": "person",
    "POST /auth/sessions/revoke_all": "person",
    "POST /auth/sessions/{device_id}/revoke": "owner alone+person",
    "POST /auth/totp/setup": "person",
    "POST /auth/totp/verify": "person",
    "GET /events/jobs/{job_id}": "owner+read",
    "GET /files/{path:path}": "owner+read",
    "HEAD /files/{path:path}": "owner+read",
    # They show a word; through the gateway it is not there at all (tests/integration/access/test_gateway.py).
    "POST /internal/credentials": "services alone",
    "GET /keys": "person",
    "POST /keys": "person",
    "DELETE /keys/{key_id}": "owner+person",
    "POST /keys/{key_id}/revoke": "owner+person",
    "GET /livez": "everybody",
    "GET /metrics": "everybody",  # likewise: the gateway passes it on to nobody
    "GET /readyz": "everybody",
    "GET /static/{path:path}": "everybody",
    "GET /ui/": "signed in",
    "GET /ui/account": "signed in",
    "GET /ui/admin/audit": "admin",
    "GET /ui/admin/limits": "admin",
    "GET /ui/admin/users": "admin",
    "GET /ui/admin/users/{user_id}/settings": "admin",
    "GET /ui/invite": "everybody",
    "GET /ui/jobs": "read",
    "GET /ui/jobs/{job_id}": "owner+read",
    "GET /ui/login": "everybody",
    "GET /ui/projects": "read",
    "GET /ui/qr": "everybody",
    "GET /ui/qr/approve": "signed in",
    "GET /ui/reset": "everybody",
    "GET /ui/settings": "signed in",
    "GET /ui/setup": "everybody",
    "GET /ui/webhooks": "read",
    "GET /ui/webhooks/{webhook_id}": "owner+read",
    "WEBSOCKET /ws/jobs/{job_id}": "owner+read",
}
