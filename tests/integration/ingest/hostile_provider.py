"""An OpenID provider that says whatever a test wants, over a real socket.

Lives here: discovery, keys and tokens, each of which a test may spoil. Does not live here: an honest provider, which is
`oidc-provider-mock`'s.
"""

import base64
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID = "dubline"
CODE = "a-code"
NONCE, VERIFIER = "the nonce", "the verifier, which is long enough for the specification"

Claims = dict[str, Any]


@dataclass
class Hostile:
    """Everything that a test may change before Dubline asks."""

    key: RSAKey
    url: str = ""
    published: KeySet | None = None
    discovery: Claims = field(default_factory=dict)
    claims: Claims = field(default_factory=dict)
    make_token: Callable[[Claims], Any] | None = None
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def document(self) -> Claims:
        endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        found: Claims = {"issuer": self.url} | {name: f"{self.url}/{path}" for name, path in endpoints.items()}
        return found | self.discovery

    def token(self) -> Any:
        now = int(time.time())
        honest = {"iss": self.url, "sub": "s-1", "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": NONCE}
        claims = {name: value for name, value in (honest | self.claims).items() if value is not None}
        return self.make_token(claims) if self.make_token else self.signed(claims)

    def signed(self, claims: Claims, **header: Any) -> str:
        return jwt.encode({"alg": "RS256", "kid": "k1"} | header, claims, self.key)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path in self.answers:
            return self.answers[path]
        match path:
            case "/.well-known/openid-configuration":
                body: Any = self.document()
            case "/keys":
                body = (self.published or KeySet([self.key])).as_dict()
            case "/token":
                body = {"access_token": "an access token", "token_type": "Bearer", "id_token": self.token()}
            case _:
                return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


@contextlib.contextmanager
def hostile_provider(key: RSAKey) -> Iterator[Hostile]:
    """Yield a running provider whose key's id is `k1`."""
    hostile = Hostile(key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            hostile.forms.append({name: values[0] for name, values in form.items()})
            hostile.authorizations.append(self.headers.get("Authorization", ""))
            self._respond()

        def _respond(self) -> None:
            hostile.asked.append(self.path)
            status, headers, body = hostile.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked may have had enough
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hostile.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hostile
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
