"""What an OpenID provider says is checked before anybody is let in: attacks on every step, over real sockets.

The provider here is hostile: its addresses, keys and tokens are spoiled one at a time (OpenID Connect Core 3.1.3.7,
RFC 9700, RFC 9207).
"""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from services.ingest.accounts import oidc_provider
from services.ingest.accounts.id_token import Identity, IdentityRefusedError
from services.ingest.accounts.oidc_provider import Provider, ProviderUnavailableError, Registration
from tests.broker import free_port
from tests.integration.ingest.hostile_provider import (
    CLIENT_ID,
    CODE,
    NONCE,
    VERIFIER,
    Hostile,
    challenge_of,
    hostile_provider,
)

REDIRECT = "https://dubline.example.org/api/auth/oidc/callback"
SIGNING_KEY = RSAKey.generate_key(2048, {"kid": "k1"})
SECRET = "a client's s3cret/+"
LONG_AGO, FAR_AHEAD = 1_000_000_000, 9_000_000_000


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with hostile_provider(SIGNING_KEY) as running:
        yield running


def provider(hostile: Hostile, secret: str | None = SECRET) -> Provider:
    return Provider(Registration(hostile.url, CLIENT_ID, secret, REDIRECT))


async def identify(hostile: Hostile, **options: Any) -> Identity:
    return await provider(hostile, **options).identify(CODE, NONCE, VERIFIER, time.time())


async def refused(hostile: Hostile) -> str:
    with pytest.raises(IdentityRefusedError) as error:
        await identify(hostile)
    return str(error.value)


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join([*parts, signature])


async def test_an_honest_token_names_the_person(hostile: Hostile) -> None:
    hostile.claims = {"preferred_username": "maria", "email": "maria@example.org", "email_verified": True}
    assert await identify(hostile) == Identity("s-1", "maria", "maria@example.org")


async def test_the_browser_is_sent_with_state_nonce_and_a_challenge(hostile: Hostile) -> None:
    url = urlsplit(await provider(hostile).authorization_url("the state", NONCE, VERIFIER))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{hostile.url}/authorize"
    assert {name: values[0] for name, values in parse_qs(url.query).items()} == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT,
        "scope": "openid profile email",
        "state": "the state",
        "nonce": NONCE,
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }


async def test_the_code_is_exchanged_with_the_verifier_and_the_clients_secret(hostile: Hostile) -> None:
    await identify(hostile)
    assert hostile.forms == [
        {"grant_type": "authorization_code", "code": CODE, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    ]
    shown = base64.b64decode(hostile.authorizations[0].removeprefix("Basic ")).decode()
    assert shown == f"{CLIENT_ID}:a+client%27s+s3cret%2F%2B"  # RFC 6749, 2.3.1


async def test_a_client_may_have_no_secret_or_send_it_in_the_form(hostile: Hostile) -> None:
    await identify(hostile, secret=None)
    assert (hostile.forms[0]["client_id"], hostile.authorizations[0]) == (CLIENT_ID, "")
    hostile.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    await identify(hostile)
    assert (hostile.forms[1]["client_secret"], hostile.authorizations[1]) == (SECRET, "")


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": [NONCE, "another"]},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another client"]},
        {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
        {"aud": []},
        {"aud": None},
        {"azp": "another client"},
        {"exp": LONG_AGO},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 1e400},
        {"iat": FAR_AHEAD},
        {"iat": None},
        {"nbf": FAR_AHEAD},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"at_hash": "bm90IHRoZSBoYXNoIQ"},
    ],
    ids=lambda claims: json.dumps(claims)[:40],
)
async def test_a_wrong_claim_lets_nobody_in(hostile: Hostile, claims: dict[str, Any]) -> None:
    hostile.claims = claims
    assert "ID token" in await refused(hostile)


async def test_a_clock_may_be_a_minute_off(hostile: Hostile) -> None:
    hostile.claims = {"exp": time.time() - 30, "iat": time.time() + 30}
    assert (await identify(hostile)).subject == "s-1"


async def test_a_token_without_a_signature_lets_nobody_in(hostile: Hostile) -> None:
    for header in ({"alg": "none"}, {"alg": "None"}, {"alg": "none", "kid": "k1"}, {"kid": "k1"}, {}):
        hostile.make_token = lambda claims, header=header: unsigned(header, claims)
        await refused(hostile)


async def test_a_token_signed_with_the_clients_secret_or_the_public_key_lets_nobody_in(hostile: Hostile) -> None:
    """Algorithm confusion: HMAC with what everybody, or the client, knows."""
    for key in (SECRET.encode(), SIGNING_KEY.as_pem(private=False), json.dumps(SIGNING_KEY.as_dict()).encode()):

        def confused(claims: dict[str, Any], key: bytes = key) -> str:
            signed = unsigned({"alg": "HS256", "kid": "k1"}, claims).rstrip(".")
            mac = hmac.digest(key, signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

        hostile.make_token = confused
        assert "not accepted" in await refused(hostile)


async def test_a_token_signed_with_another_key_lets_nobody_in(hostile: Hostile) -> None:
    other = RSAKey.generate_key(2048, {"kid": "k1"})
    hostile.make_token = lambda claims: jwt.encode({"alg": "RS256", "kid": "k1"}, claims, other)
    await refused(hostile)


async def test_a_key_that_the_token_brings_along_is_not_used(hostile: Hostile) -> None:
    own = RSAKey.generate_key(2048, {"kid": "mine"})
    header = {"alg": "RS256", "kid": "mine", "jwk": own.as_dict(private=False), "jku": f"{hostile.url}/own-keys"}
    hostile.make_token = lambda claims: jwt.encode(header, claims, own)
    await refused(hostile)
    assert "/own-keys" not in hostile.asked


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "..", "ä.ö.ü", "x" * 200_000, None, 7, {"alg": "none"}])
async def test_what_is_no_token_lets_nobody_in(hostile: Hostile, token: object) -> None:
    hostile.make_token = lambda _: token
    await refused(hostile)


async def test_a_changed_claim_breaks_the_signature(hostile: Hostile) -> None:
    def changed(claims: dict[str, Any]) -> str:
        header, _, signature = hostile.signed(claims).split(".")
        return unsigned({}, claims | {"sub": "admin"}, signature).replace(unsigned({}, {}).split(".")[0], header, 1)

    hostile.make_token = changed
    await refused(hostile)


async def test_elliptic_keys_are_taken_too(hostile: Hostile) -> None:
    key = ECKey.generate_key("P-256", {"kid": "e1"})
    hostile.published = KeySet([SIGNING_KEY, key])
    hostile.make_token = lambda claims: jwt.encode({"alg": "ES256", "kid": "e1"}, claims, key)
    assert (await identify(hostile)).subject == "s-1"


async def test_addresses_and_keys_are_asked_for_once(hostile: Hostile) -> None:
    ours = provider(hostile)
    for _ in range(3):
        await ours.identify(CODE, NONCE, VERIFIER, time.time())
    assert (hostile.asked.count("/keys"), hostile.asked.count("/.well-known/openid-configuration")) == (1, 1)


async def test_a_new_key_is_fetched_when_it_is_needed_but_not_at_every_attempt(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = provider(hostile)
    await ours.identify(CODE, NONCE, VERIFIER, time.time())
    new = RSAKey.generate_key(2048, {"kid": "k2"})
    hostile.published = KeySet([SIGNING_KEY, new])
    hostile.make_token = lambda claims: jwt.encode({"alg": "RS256", "kid": "k2"}, claims, new)
    for _ in range(3):  # just asked: a flood of unknown keys asks the provider nothing
        with pytest.raises(IdentityRefusedError):
            await ours.identify(CODE, NONCE, VERIFIER, time.time())
    assert hostile.asked.count("/keys") == 1
    monkeypatch.setattr(oidc_provider, "KEYS_AGAIN_S", 0.0)
    assert (await ours.identify(CODE, NONCE, VERIFIER, time.time())).subject == "s-1"
    assert hostile.asked.count("/keys") == 2


async def test_an_answer_in_another_issuers_name_is_refused(hostile: Hostile) -> None:
    """Mix-up (RFC 9207): the browser comes back from another provider than it was sent to."""
    await provider(hostile).check_issuer(None)
    await provider(hostile).check_issuer(hostile.url)
    with pytest.raises(IdentityRefusedError):
        await provider(hostile).check_issuer("https://evil.example")
    hostile.discovery = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(IdentityRefusedError):
        await provider(hostile).check_issuer(None)  # one that always names itself has not


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": 7},
    ],
    ids=json.dumps,
)
async def test_a_discovery_document_that_leads_elsewhere_is_not_followed(
    hostile: Hostile, discovery: dict[str, Any]
) -> None:
    hostile.discovery = discovery
    with pytest.raises(ProviderUnavailableError):
        await provider(hostile).authorization_url("s", "n", "v")
    assert hostile.asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
async def test_a_redirect_is_not_followed(hostile: Hostile, path: str) -> None:
    hostile.answers[path] = (302, {"Location": f"{hostile.url}/elsewhere"}, b"")
    with pytest.raises(ProviderUnavailableError):
        await identify(hostile)
    assert "/elsewhere" not in hostile.asked


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"7", b'{"keys":', b"\xff\xfe", b" " * (oidc_provider.ANSWER_MAX_BYTES + 1)]
)
async def test_an_answer_that_is_none_is_an_error_and_not_a_crash(hostile: Hostile, path: str, body: bytes) -> None:
    hostile.answers[path] = (200, {}, body)
    with pytest.raises(ProviderUnavailableError):
        await identify(hostile)


@pytest.mark.parametrize("keys", [b'{"keys": []}', b'{"keys": [{}]}', b'{"keys": [{"kty": "RSA"}]}', b'{"keys": 7}'])
async def test_keys_that_are_none_let_nobody_in(hostile: Hostile, keys: bytes) -> None:
    hostile.answers["/keys"] = (200, {}, keys)
    with pytest.raises(ProviderUnavailableError):
        await identify(hostile)


async def test_a_code_that_the_provider_refuses_lets_nobody_in(hostile: Hostile) -> None:
    hostile.answers["/token"] = (400, {}, b'{"error": "invalid_grant"}')
    assert "code" in await refused(hostile)


async def test_a_provider_that_is_down_or_hangs_is_told_from_a_refusal(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Provider(Registration(f"http://127.0.0.1:{free_port()}", CLIENT_ID, None, REDIRECT))
    with pytest.raises(ProviderUnavailableError):
        await gone.authorization_url("s", "n", "v")
    hostile.answers["/token"] = (503, {}, b"")
    with pytest.raises(ProviderUnavailableError):
        await identify(hostile)
    monkeypatch.setattr(oidc_provider, "TIMEOUT_S", 0.2)
    hostile.answers["/token"] = (200, {"Content-Length": "9"}, b"{")  # and no more
    with pytest.raises(ProviderUnavailableError):
        await identify(hostile)


async def test_an_address_that_is_not_proved_is_not_told(hostile: Hostile) -> None:
    for verified in (False, None, "true", 1):
        hostile.claims = {"email": "admin@example.org", "email_verified": verified}
        assert (await identify(hostile)).email == ""
