"""From where people may come in: the predecessor's access modes. Cloudflare's keys come from a real HTTP server."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
from joserfc import jwt
from joserfc.jwk import RSAKey

from shared.access import cloudflare
from shared.access.cloudflare import CloudflareAccess
from shared.access.front import Front
from shared.access.remote import Assertions, RemoteAccess, allowed_networks
from shared.access.resolution import AccessUnavailableError
from shared.settings import Settings
from tests.unit.access.asking import Accounts, Answered, ask, echo, with_local_key

AUDIENCE = "f00d" * 16


def no_key(_digest: str) -> bool:
    return False


async def from_address(
    address: str, mode: str, allowed: str = "", *, path: str = "/api/jobs", assertion: str = "", access: Any = None
) -> Answered:
    app = RemoteAccess(echo, allowed_networks(mode, allowed), access, no_key)
    headers = {"Cf-Access-Jwt-Assertion": assertion} if assertion else {}
    return await ask(app, "GET", path, headers, **{"dubline.address": address})


@pytest.mark.parametrize(
    ("address", "mode", "allowed", "status"),
    [
        ("203.0.113.9", "off", "", 200),
        ("203.0.113.9", "off", "10.0.0.0/8", 200),
        ("203.0.113.9", "tailscale", "", 403),
        ("127.0.0.1", "tailscale", "", 200),
        ("10.255.0.1", "tailscale", "", 200),
        ("172.16.0.1", "tailscale", "", 200),
        ("172.32.0.1", "tailscale", "", 403),
        ("192.168.1.1", "tailscale", "", 200),
        ("100.64.0.1", "tailscale", "", 200),
        ("100.127.255.254", "tailscale", "", 200),
        ("100.128.0.1", "tailscale", "", 403),
        ("::1", "tailscale", "", 200),
        ("::ffff:192.168.1.1", "tailscale", "", 200),
        ("::ffff:203.0.113.9", "tailscale", "", 403),
        ("fd7a:115c:a1e0::1", "tailscale", "", 200),
        ("2001:db8::1", "tailscale", "", 403),
        ("", "tailscale", "", 403),
        ("unix", "tailscale", "", 403),
        ("127.0.0.1", "tailscale", "203.0.113.0/24", 403),
        ("203.0.113.9", "tailscale", "203.0.113.0/24", 200),
    ],
)
async def test_the_networks_of_a_mode(address: str, mode: str, allowed: str, status: int) -> None:
    answered = await from_address(address, mode, allowed)
    assert answered.status == status
    if status == 403:
        assert answered.code == "address_not_allowed"


def test_off_does_not_look_at_the_networks_and_says_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, remote_access_mode="off", allowed_subnets="10.0.0.0/8")
    with structlog.testing.capture_logs() as told:
        assert Front.of(settings, Accounts()).allowed == ()
    assert [line["event"] for line in told] == ["allowed_subnets_not_looked_at"]
    with structlog.testing.capture_logs() as told:
        Front.of(settings.model_copy(update={"remote_access_mode": "tailscale"}), Accounts())
    assert told == []


class Nothing:
    """Cloudflare Access that vouches for nobody."""

    async def valid(self, _assertion: str) -> bool:
        return False


LOCAL = ("127.0.0.1", 4711)


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        (LOCAL, {}, 200),
        (("::1", 4711), {}, 200),
        (("::ffff:127.0.0.1", 4711), {}, 200),
        (("192.0.2.7", 4711), {}, 403),
        (None, {}, 403),
        (LOCAL, {"X-Api-Key": "another"}, 403),
        (LOCAL, {"X-Forwarded-For": "127.0.0.1"}, 403),
        (LOCAL, {"X-Forwarded-For": ""}, 403),
        (LOCAL, {"X-Forwarded-Proto": "http"}, 403),
        (LOCAL, {"X-Forwarded-Host": "localhost"}, 403),
        (LOCAL, {"X-Real-IP": "127.0.0.1"}, 403),
        (LOCAL, {"Forwarded": "for=127.0.0.1"}, 403),
        (LOCAL, {"Via": "1.1 proxy"}, 403),
        (LOCAL, {"Cf-Connecting-IP": "127.0.0.1"}, 403),
        (LOCAL, {"X-Dubline-Gateway": "the-gateways-word"}, 403),
        (LOCAL, {"X-Dubline-Gateway": ""}, 403),
    ],
    ids=str,
)
async def test_this_machines_own_key_comes_in_from_this_machine_and_through_no_proxy(
    tmp_path: Path, client: tuple[str, int] | None, headers: dict[str, str], status: int
) -> None:
    """Whatever the address is that somebody says: of a proxy on this machine the peer is loopback, too."""
    identity, key = with_local_key(tmp_path, Accounts())
    app = RemoteAccess(echo, allowed_networks("cloudflare", "203.0.113.0/24"), Nothing(), identity.is_local_key)
    shown = {"X-Api-Key": key} | headers
    for address in ("127.0.0.1", "203.0.113.9"):
        answered = await ask(app, "GET", "/api/jobs", shown, client=client, **{"dubline.address": address})
        assert answered.status == status


async def test_without_the_key_nobody_of_this_machine_comes_in(tmp_path: Path) -> None:
    identity, key = with_local_key(tmp_path, Accounts())
    app = RemoteAccess(echo, (), Nothing(), identity.is_local_key)
    for headers in ({}, {"Authorization": f"Bearer {key}"}, {"Cookie": f"__Host-dubline={key}"}):
        answered = await ask(app, "GET", "/api/jobs", headers, client=LOCAL, **{"dubline.address": "127.0.0.1"})
        assert (answered.status, answered.code) == (403, "access_jwt_invalid")


async def test_supervisors_ask_from_anywhere() -> None:
    for path in ("/livez", "/readyz"):
        assert (await from_address("203.0.113.9", "tailscale", path=path)).status == 200


class Team(BaseHTTPRequestHandler):
    """Cloudflare's address of a team's keys."""

    keys: ClassVar[list[RSAKey]] = []
    asked: ClassVar[list[str]] = []
    down: ClassVar[bool] = False

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        found = self.path == "/cdn-cgi/access/certs" and not self.down
        self.send_response(200 if found else 502)
        self.end_headers()
        shown = [{**key.as_dict(private=False), "use": "sig", "alg": "RS256"} for key in self.keys]
        self.wfile.write(json.dumps({"keys": shown, "public_certs": []}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def rsa(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


@pytest.fixture(scope="module")
def team() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Team)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


KEY, OTHER, NEXT = rsa("one"), rsa("one"), rsa("two")


@pytest.fixture
def access(team: str) -> CloudflareAccess:
    Team.keys, Team.down = [KEY], False
    Team.asked.clear()
    return CloudflareAccess(team, AUDIENCE)


def assertion(team: str, key: Any = KEY, header: dict[str, Any] | None = None, **claims: Any) -> str:
    now = int(time.time())
    said = {"aud": [AUDIENCE], "iss": team, "exp": now + 600, "iat": now, "nbf": now, "email": "maria@example.org"}
    said = {name: value for name, value in (said | claims).items() if value is not None}
    head = {"alg": "RS256", "kid": "one", "typ": "JWT"} | (header or {})
    return jwt.encode(head, said, key, algorithms=["RS256", "RS512"])


async def test_cloudflares_word_lets_in_and_its_keys_are_fetched_once(team: str, access: CloudflareAccess) -> None:
    for _ in range(3):
        answered = await from_address("10.0.0.1", "cloudflare", assertion=assertion(team), access=access)
        assert answered.status == 200
    assert Team.asked == ["/cdn-cgi/access/certs"]
    assert (await from_address("203.0.113.9", "cloudflare", assertion=assertion(team), access=access)).status == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": ["another application"]},
        {"aud": None},
        {"iss": "https://evil.cloudflareaccess.com"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 4_000_000_000},
        {"key": OTHER},
        {"key": NEXT, "header": {"kid": "two"}},
        {"header": {"alg": "RS512"}},
    ],
    ids=lambda wrong: "-".join(map(str, wrong)) + str(wrong.get("header", "")),
)
async def test_anything_else_does_not(team: str, access: CloudflareAccess, wrong: dict[str, Any]) -> None:
    answered = await from_address("10.0.0.1", "cloudflare", assertion=assertion(team, **wrong), access=access)
    assert (answered.status, answered.code) == (403, "access_jwt_invalid")


@pytest.mark.parametrize("algorithm", ["HS256", "none", "None", ""])
async def test_nothing_that_is_signed_in_another_way_does(team: str, access: CloudflareAccess, algorithm: str) -> None:
    """The public key is public: whoever takes it for the secret of an HMAC believes everybody."""
    _, claims, _ = assertion(team).split(".")
    signed = f"{_part(json.dumps({'alg': algorithm, 'kid': 'one', 'typ': 'JWT'}).encode())}.{claims}"
    mac = hmac.digest(KEY.as_pem(private=False), signed.encode(), "sha256") if algorithm == "HS256" else b""
    answered = await from_address("10.0.0.1", "cloudflare", assertion=f"{signed}.{_part(mac)}", access=access)
    assert (answered.status, answered.code) == (403, "access_jwt_invalid")


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 9000, "é.é.é", "...."])
async def test_garbage_does_not(access: CloudflareAccess, text: str) -> None:
    answered = await from_address("10.0.0.1", "cloudflare", assertion=text, access=access)
    assert (answered.status, answered.code) == (403, "access_jwt_invalid")


async def test_a_new_key_is_fetched_and_made_up_ones_fetch_nothing(
    team: str, access: CloudflareAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await access.valid(assertion(team))
    Team.keys = [KEY, NEXT]
    rotated = assertion(team, NEXT, {"kid": "two"})
    assert not await access.valid(rotated), "the keys were fetched a moment ago"
    assert len(Team.asked) == 1
    monkeypatch.setattr(cloudflare, "KEYS_AGAIN_S", 0.0)
    monkeypatch.setattr(cloudflare, "FAILED_AGAIN_S", 0.0)
    access._try_at = 0.0
    assert await access.valid(rotated)
    Team.down = True
    assert await access.valid(assertion(team, email="other@example.org")), "keys of today do while none can be had"
    monkeypatch.setattr(cloudflare, "KEYS_KEPT_S", 0.0)
    with pytest.raises(AccessUnavailableError):
        await access.valid(assertion(team, email="third@example.org"))


async def test_without_keys_nobody_comes_in(team: str, access: CloudflareAccess) -> None:
    Team.down = True
    answered = await from_address("10.0.0.1", "cloudflare", assertion=assertion(team), access=access)
    assert (answered.status, answered.code) == (503, "access_unavailable")


def test_cloudflares_mode_needs_its_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, remote_access_mode="cloudflare", cloudflare_access_aud=AUDIENCE)
    with pytest.raises(ValueError, match="CLOUDFLARE_ACCESS_TEAM_DOMAIN"):
        Front.of(settings, Accounts())
    whole = settings.model_copy(update={"cloudflare_access_team_domain": "team.cloudflareaccess.com"})
    access: Assertions | None = Front.of(whole, Accounts()).assertions
    assert isinstance(access, CloudflareAccess)
