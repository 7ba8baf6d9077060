"""What an ID token proves: the checks of OpenID Connect Core 1.0, 3.1.3.7.

Lives here: signature, claims, and who is named. Pure. Does not live here: getting a token and the provider's keys
(`oidc_provider`), and whose account it opens (`oidc`). No message names a token or a claim's value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oidc.core.claims import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384")
"""Signatures by the provider's private key alone: neither `none` nor HMAC, whose key would be the client's."""
CLOCK_SKEW_S = 60
SUBJECT_MAX = 255
"""OpenID Connect Core 1.0, 2."""

_JWS = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)  # RFC 7515, 4: unknown members are ignored


class IdentityRefusedError(Exception):
    """What came back does not prove who it is, or not of one who may come in. `code` is what the browser is told."""

    def __init__(self, message: str, code: str = "oidc_refused") -> None:
        super().__init__(message)
        self.code = code


class UnknownKeyError(IdentityRefusedError):
    """No key that is known made the signature; the provider may have a new one."""


@dataclass(frozen=True)
class Expected:
    """What the token must say."""

    issuer: str
    client_id: str
    nonce: str


@dataclass(frozen=True)
class Identity:
    """Who signed in. `subject` is the provider's own name for them; `email` is empty unless the provider proved it."""

    subject: str
    suggested_name: str = ""
    email: str = ""


def identity_of(id_token: str, keys: KeySet, expected: Expected, access_token: object, now: float) -> Identity:
    """Return who the token names. `now` is in seconds since the epoch. Raises IdentityRefusedError, UnknownKeyError."""
    token = _signed(id_token, keys)
    claims = CodeIDToken(
        token.claims,
        token.header,
        {
            "iss": {"essential": True, "value": expected.issuer},
            "aud": {"essential": True, "value": expected.client_id},
            "nonce": {"essential": True, "value": expected.nonce},
            "sub": {"essential": True},
        },
        {"nonce": expected.nonce, "client_id": expected.client_id, "access_token": access_token},
    )
    try:
        claims.validate(now=int(now), leeway=CLOCK_SKEW_S)
    except (JoseError, TypeError, ValueError, AttributeError) as error:
        # Authlib raises the last three for claims of an unexpected type.
        claim = getattr(error, "claim", "") or "its claims"
        raise IdentityRefusedError(f"The ID token is refused: {claim}.") from error
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if audience != [expected.client_id]:  # 3.1.3.7, 3: no audience that is not trusted
        raise IdentityRefusedError("The ID token is also for others.")
    if not 0 < len(claims["sub"]) <= SUBJECT_MAX:
        raise IdentityRefusedError("The ID token's subject is empty or too long.")
    email = _text(claims, "email") if claims.get("email_verified") is True else ""
    return Identity(claims["sub"], _text(claims, "preferred_username"), email)


def _signed(id_token: str, keys: KeySet) -> jwt.Token:
    try:
        return jwt.decode(id_token, keys, registry=_JWS)
    except (InvalidKeyIdError, BadSignatureError) as error:
        raise UnknownKeyError("The ID token is not signed by the provider.") from error
    except (JoseError, TypeError, ValueError) as error:
        raise IdentityRefusedError("The ID token is none, or signed in a way that is not accepted.") from error


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""
