"""One attempt to deliver a message: one POST to an address that was checked, and what came of it.

Lives here: connecting to exactly that address under the right name, and the limits of an attempt. No redirect is
followed (it would be a way around the check), no proxy of the environment is used, no connection is kept (two names
on one address must not share it), and of the answer only its status matters.
Does not live here: which addresses are allowed (`shared.webhook_targets`) and trying again (`dispatcher`).
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import structlog

from services.library.webhooks.retries import Outcome
from shared.webhook_targets import Resolver, Rules, Target, TargetRefusedError, checked_target, resolve

TIMEOUT_S = 15.0
"""For the whole attempt, name look-up and answer included."""
CONNECT_TIMEOUT_S = 5.0
ADDRESSES_TRIED = 3
ANSWER_READ_BYTES = 1024
ANSWER_READ_S = 1.0
ERROR_MAX_CHARS = 200

log = structlog.get_logger()


class Sender:
    """Makes attempts, any number at once."""

    def __init__(self, rules: Rules, *, resolver: Resolver = resolve, timeout_s: float = TIMEOUT_S) -> None:
        self._rules = rules
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Make one attempt. Raises nothing but what cancels it: whatever goes wrong is the outcome."""
        started = time.monotonic()
        status, error, retry_after = None, None, None
        try:
            async with asyncio.timeout(self._timeout_s):
                status, retry_after = await self._post(url, headers, body)
        except TimeoutError:
            error = f"no answer within {self._timeout_s:g} s"
        except TargetRefusedError as refused:
            error = f"refused: {refused}"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as failed:
            error = f"{type(failed).__name__}: {failed}"
        except Exception as failed:  # whatever one receiver's answer breaks must not end the others' deliveries
            log.error("webhook_attempt_broke", error=type(failed).__name__, exc_info=failed)
            error = type(failed).__name__
        if status is not None and not 200 <= status < 300:
            error = f"the receiver answered {status}"
        elapsed_ms = int((time.monotonic() - started) * 1000)
        return Outcome(status, error[:ERROR_MAX_CHARS] if error else None, elapsed_ms, retry_after)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, float | None]:
        target, addresses = await checked_target(url, self._rules, self._resolver)
        if self._tls is None:  # reading the certificates takes tens of milliseconds
            self._tls = await asyncio.to_thread(httpx.create_ssl_context)
        tried = addresses[:ADDRESSES_TRIED]
        for address in tried[:-1]:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._post_to(address, target, headers, body, self._tls)
        return await self._post_to(tried[-1], target, headers, body, self._tls)

    async def _post_to(
        self, address: str, target: Target, headers: Mapping[str, str], body: bytes, tls: ssl.SSLContext
    ) -> tuple[int, float | None]:
        timeout = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S)
        async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout, follow_redirects=False) as client:
            request = client.build_request(
                "POST",
                target.url.copy_with(host=address),
                content=body,
                headers={**headers, "Host": target.host_header, "Connection": "close", "Accept-Encoding": "identity"},
                extensions={"timeout": timeout.as_dict(), "sni_hostname": target.host},
            )
            answer = await client.send(request, stream=True)
            try:
                await _read_a_little(answer)
            finally:
                await answer.aclose()
            return answer.status_code, retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC))


async def _read_a_little(answer: httpx.Response) -> None:
    """Take the start of the answer, so that a receiver that sends a word sees no broken connection."""
    read = 0
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(ANSWER_READ_S):
            async for chunk in answer.aiter_raw(ANSWER_READ_BYTES):
                read += len(chunk)
                if read >= ANSWER_READ_BYTES:
                    return


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3); None for none or another text."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
