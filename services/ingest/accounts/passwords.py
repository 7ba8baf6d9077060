"""Passwords: which may be chosen, and comparing one with what is kept of it.

Lives here: argon2id in two threads of its own, and the rules for a new password. Does not live here: whose password it
is (`users`), and how often somebody may try (`throttle`).

A password is hashed as it was typed, whole, in Unicode's form NFC (as RFC 8265's OpaqueString): two keyboards that
compose an accent differently type the same password. Its length is counted in the code points that were sent.
"""

import asyncio
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.problems import Problem

MIN_CHARS, MAX_CHARS = 8, 256
TYPED_MAX_CHARS = 1024
"""What is longer is not compared with anything: no password that was ever chosen is, in any Unicode form."""

MEMORY_KIB, PASSES, LANES = 19456, 2, 1
"""OWASP's minimum for argon2id (reference: accounts and credentials); about 40 ms on the development machine."""
THREADS = 2
WAITING_MAX = 16
"""Beyond, a sign-in is told to come back: about half a second of hashing is in front of it."""
RETRY_AFTER_S = 1

PRODUCT = "dubline"
COMMON = Path(__file__).with_name("common_passwords.txt")

T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """Whether a password was the right one. `renewed` replaces a hash that was made with other parameters."""

    right: bool
    renewed: str | None = None


def check_new(password: str, username: str) -> None:
    """Raise Problem 422 for a password that nobody should choose; there are no rules about kinds of characters."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        detail = f"A password has {MIN_CHARS} to {MAX_CHARS} characters; a sentence makes a good one."
        raise Problem(422, "password_length", detail)
    if not _encodable(password):
        raise Problem(422, "invalid_password", "The password holds half of a character (a lone surrogate).")
    folded = unicodedata.normalize("NFC", password).casefold()
    if folded in _common() or _only_says(folded, {username.casefold(), PRODUCT}):
        detail = "This password is among the first that an attacker tries. Choose another one."
        raise Problem(422, "password_common", detail)


class Passwords:
    """Hashes and compares in threads; every comparison computes one hash, whether there is a user or not."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._under_way = 0
        self._lock = threading.Lock()

    async def hash(self, password: str) -> str:
        """Return what is kept of a password that `check_new` let pass. Raises Problem 503 `busy`."""
        return await self._run(lambda: self.hash_now(password))

    async def verify(self, kept: str | None, password: str) -> Verdict:
        """Compare a password with what is kept of one; None stands for an unknown user, and costs as much.

        Raises Problem 503 `busy`.
        """
        return await self._run(lambda: self.verify_now(kept, password))

    def hash_now(self, password: str) -> str:
        """`hash` in this thread, for the command line."""
        return self._hasher.hash(_bytes(password))

    def verify_now(self, kept: str | None, password: str) -> Verdict:
        """`verify` in this thread."""
        typed = b"" if len(password) > TYPED_MAX_CHARS else _bytes(password)
        try:
            right = self._hasher.verify(self._nobodys if kept is None else kept, typed)
        except (VerificationError, InvalidHashError):
            return Verdict(right=False)
        if kept is None:
            return Verdict(right=False)
        return Verdict(right, self.hash_now(password) if self._hasher.check_needs_rehash(kept) else None)

    def close(self) -> None:
        """Wait for what runs; drop what waits."""
        self._threads.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._under_way >= THREADS + WAITING_MAX:
                detail = "Too many people sign in at this moment. Try again in a second."
                raise Problem(503, "busy", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
            self._under_way += 1
        running = self._threads.submit(work)
        running.add_done_callback(self._one_less)  # also of one that waited in vain: its client has gone
        return await asyncio.wrap_future(running)

    def _one_less(self, _done: Future[T]) -> None:
        with self._lock:
            self._under_way -= 1


@cache
def _common() -> frozenset[str]:
    lines = COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _only_says(folded: str, names: set[str]) -> bool:
    """Return whether a password is one of the names, or several after each other, and at most some digits."""
    rest = folded
    for name in sorted(names, key=len, reverse=True):
        rest = rest.replace(name, "") if name else rest
    return rest != folded and (not rest or rest.isdecimal())


def _bytes(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _encodable(password: str) -> bool:
    try:
        password.encode()
    except UnicodeEncodeError:
        return False
    return True
