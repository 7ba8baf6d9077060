"""A real auth.db with people in it, a clock that the test passes, and many threads at one time.

Lives here: what the tests of factors and sign-ins share.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyotp

from services.ingest.accounts import totp, users
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.sealer import Sealer
from shared.access.principal import Role

NOW = 1_800_000_000.0
SECRET = bytes(range(32))
THREADS = 50

T = TypeVar("T")


@contextmanager
def opened(directory: Path) -> Iterator[AuthDb]:
    db = AuthDb(directory / "auth.db")
    try:
        yield db
    finally:
        db.close()


def sealer() -> Sealer:
    return Sealer(SECRET, "totp")


def person(db: AuthDb, name: str = "maria", role: Role = "viewer") -> str:
    return db.write(lambda c: users.create(c, name, "not a hash", role, NOW)).id


def code_at(secret: str, now: float) -> str:
    return pyotp.TOTP(secret).at(int(now))


def enrolled(db: AuthDb, user_id: str, now: float = NOW - 3600, credential: str = "ses_first") -> totp.Enrolment:
    """Give a person a factor that holds."""
    begun = db.write(lambda c: totp.begin(c, sealer(), user_id, "maria", now))
    code = code_at(begun.secret, now)
    assert db.write(lambda c: totp.confirm(c, sealer(), user_id, code, credential, now)) is True
    return begun


def at_once(work: Callable[[int], T], threads: int = THREADS) -> list[T]:
    """Return what `work` returned in every one of so many threads, which all begin together."""
    ready = threading.Barrier(threads)

    def run(number: int) -> T:
        ready.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
