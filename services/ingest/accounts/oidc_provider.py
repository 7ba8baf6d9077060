"""The OpenID provider that people may sign in with: finding its addresses and keys, and exchanging a code.

Lives here: HTTP to the provider. Does not live here: what its ID token proves (`id_token`), which browser began and
whose account it is (`oidc`). Sizes and times are bounded, redirects are not followed, addresses must be https.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import quote_plus, urlsplit

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization
from pydantic import BaseModel, ConfigDict, ValidationError

from services.ingest.accounts.id_token import Expected, Identity, IdentityRefusedError, UnknownKeyError, identity_of
from services.ingest.settings import IngestSettings
from shared.loopback import is_loopback

SCOPE = "openid profile email"
TIMEOUT_S = 10.0
"""For one whole exchange: somebody waits before a browser."""
CONNECT_TIMEOUT_S = 5.0
ANSWER_MAX_BYTES = 256 << 10
CACHED_S = 3600.0
KEYS_AGAIN_S = 60.0
"""A key that is not known yet is asked for at most so often."""

DISCOVERY = "/.well-known/openid-configuration"
CALLBACK = "/api/auth/oidc/callback"


class ProviderUnavailableError(Exception):
    """The provider does not answer, or not as one: nobody can sign in with it now."""


@dataclass(frozen=True)
class Registration:
    """What the provider and Dubline agreed on. `redirect_uri` is compared by the provider, letter by letter."""

    issuer: str
    client_id: str
    client_secret: str | None
    redirect_uri: str


class Metadata(BaseModel):
    """What of the provider's discovery document is used (OpenID Connect Discovery 1.0, 3; RFC 9207, 3)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    """One provider. Its addresses are kept for an hour, its keys until one is missing."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration
        self._metadata: Metadata | None = None
        self._metadata_until = 0.0
        self._keys: KeySet | None = None
        self._keys_at = 0.0
        self._asking = asyncio.Lock()

    @property
    def issuer(self) -> str:
        return self._registration.issuer

    async def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Return where to send the browser: code flow, PKCE S256, nonce. Raises ProviderUnavailableError."""
        metadata = await self._discovered()
        return cast(
            str,
            prepare_grant_uri(
                metadata.authorization_endpoint,
                client_id=self._registration.client_id,
                response_type="code",
                redirect_uri=self._registration.redirect_uri,
                scope=SCOPE,
                state=state,
                nonce=nonce,
                code_challenge=create_s256_code_challenge(verifier),
                code_challenge_method="S256",
            ),
        )

    async def check_issuer(self, shown: str | None) -> None:
        """Refuse an answer that another provider sent the browser back with (mix-up, RFC 9207).

        Raises IdentityRefusedError, ProviderUnavailableError.
        """
        metadata = await self._discovered()
        if shown is None and not metadata.authorization_response_iss_parameter_supported:
            return
        if shown != self.issuer:
            raise IdentityRefusedError("The answer names another issuer, or none.")

    async def identify(self, code: str, nonce: str, verifier: str, now: float) -> Identity:
        """Return who the code stands for: it is exchanged for an ID token, whose word is taken if it proves it.

        `now` is in seconds since the epoch. Raises IdentityRefusedError, ProviderUnavailableError.
        """
        answer = await self._exchange(code, verifier)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str):
            raise IdentityRefusedError("The answer has no ID token.")
        expected = Expected(self.issuer, self._registration.client_id, nonce)
        try:
            return identity_of(id_token, await self._current_keys(again=False), expected, access_token, now)
        except UnknownKeyError:  # the provider may have begun to use another one
            return identity_of(id_token, await self._current_keys(again=True), expected, access_token, now)

    async def _exchange(self, code: str, verifier: str) -> Mapping[str, Any]:
        ours = self._registration
        metadata = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": ours.redirect_uri,
            "code_verifier": verifier,
        }
        basic: tuple[str, str] | None = None
        if ours.client_secret is None:
            form["client_id"] = ours.client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            basic = (quote_plus(ours.client_id), quote_plus(ours.client_secret))  # RFC 6749, 2.3.1
        else:
            form |= {"client_id": ours.client_id, "client_secret": ours.client_secret}
        status, answer = await self._ask("POST", metadata.token_endpoint, form, basic)
        if 400 <= status < 500 and status != 429:
            raise IdentityRefusedError("The provider does not accept the code.")
        if status != 200:
            raise ProviderUnavailableError(f"The provider's token endpoint answered {status}.")
        return answer

    async def _discovered(self) -> Metadata:
        async with self._asking:
            if self._metadata is None or time.monotonic() >= self._metadata_until:
                document = await self._get(self.issuer.rstrip("/") + DISCOVERY)
                try:
                    found = Metadata.model_validate(document)
                except ValidationError as error:
                    raise ProviderUnavailableError("The provider's discovery document lacks what is needed.") from error
                if found.issuer != self.issuer:
                    raise ProviderUnavailableError("The discovery document is another issuer's.")
                for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
                    if not is_safe_address(address):
                        raise ProviderUnavailableError("An address of the provider is not https.")
                self._metadata, self._metadata_until = found, time.monotonic() + CACHED_S
            return self._metadata

    async def _current_keys(self, *, again: bool) -> KeySet:
        metadata = await self._discovered()
        async with self._asking:
            age = time.monotonic() - self._keys_at
            if self._keys is None or age >= CACHED_S or (again and age >= KEYS_AGAIN_S):
                document = await self._get(metadata.jwks_uri)
                try:
                    self._keys = KeySet.import_key_set(cast(KeySetSerialization, document))
                except (JoseError, KeyError, TypeError, ValueError) as error:
                    raise ProviderUnavailableError("The provider's keys cannot be read.") from error
                self._keys_at = time.monotonic()
            return self._keys

    async def _get(self, url: str) -> Mapping[str, Any]:
        status, answer = await self._ask("GET", url)
        if status != 200:
            raise ProviderUnavailableError(f"The provider answered {status}.")
        return answer

    async def _ask(
        self, method: str, url: str, form: Mapping[str, str] | None = None, basic: tuple[str, str] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        tls = await asyncio.to_thread(_tls)
        client = httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout, follow_redirects=False)
        headers = {"Accept": "application/json"}
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                client,
                client.stream(method, url, data=form, auth=basic, headers=headers) as answer,
            ):
                body = b""
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_MAX_BYTES:
                        raise ProviderUnavailableError("The provider's answer is too large.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # a TimeoutError is an OSError
            raise ProviderUnavailableError(f"The provider cannot be reached: {type(error).__name__}.") from error
        return answer.status_code, _json_object(body) if answer.status_code == 200 else {}


def configured(settings: IngestSettings) -> Provider | None:
    """Return the provider of the settings, None if there is none. Raises OSError for an unreadable client secret."""
    if not settings.oidc_issuer:
        return None
    secret_file = settings.oidc_client_secret_file
    return Provider(
        Registration(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=secret_file.read_text().strip() if secret_file else None,
            redirect_uri=settings.public_base_url.rstrip("/") + CALLBACK,
        )
    )


def is_safe_address(url: str) -> bool:
    """Return whether an address of a provider is https, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host or "")))


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context()


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ProviderUnavailableError("The provider does not answer in JSON.") from error
    if not isinstance(found, dict):
        raise ProviderUnavailableError("The provider's answer is no JSON object.")
    return found
