"""Which passwords may be chosen, and that comparing one costs the same whether there is a user or not.

Predecessor fault: argon2 ran inside async handlers, and an unknown name was told by its time.
"""

import asyncio
import threading
import tomllib
import unicodedata
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from services.ingest.accounts import passwords
from services.ingest.accounts.passwords import COMMON, THREADS, WAITING_MAX, Passwords, check_new
from shared.problems import Problem

GOOD = "correct horse battery staple"


@pytest.fixture(scope="module")
def keeper() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


def refusal(password: str, username: str = "maria") -> str | None:
    try:
        check_new(password, username)
    except Problem as problem:
        return problem.code if problem.status == 422 else None
    return None


@pytest.mark.parametrize(
    "password", ["a" * 7 + "b", "x y z 8 c", "ü" * 9, "漢字仮名交じり文です", "b" + "a" * 255, "\0" * 9]
)
def test_any_eight_to_256_characters_are_a_password_whatever_their_kinds(password: str) -> None:
    assert refusal(password) is None


@pytest.mark.parametrize("password", ["", "1234567", "a" * 7, "b" * 257])
def test_shorter_and_longer_ones_are_refused(password: str) -> None:
    assert refusal(password) == "password_length"


@pytest.mark.parametrize("password", ["password", "PassWord", "iloveyou", "1234567890", "qwertyuiop", "trustno1"])
def test_what_attackers_try_first_is_refused_in_any_case(password: str) -> None:
    assert refusal(password) == "password_common"


@pytest.mark.parametrize("password", ["MariaMaria", "maria12345", "Dubline2026", "dublinedubline", "dublinemaria"])
def test_the_user_name_and_the_product_are_no_password(password: str) -> None:
    assert refusal(password) == "password_common"


def test_a_password_that_only_holds_a_name_is_fine() -> None:
    assert refusal("maria likes dubbing") is None


def test_half_a_character_is_refused_in_words() -> None:
    assert refusal("\ud800 and more") == "invalid_password"


def test_the_blocklist_has_three_thousand_passwords_that_would_otherwise_be_let_through_and_is_packaged() -> None:
    words = [line for line in COMMON.read_text().splitlines() if not line.startswith("#")]
    assert len(words) == len(set(words)) == 3000
    assert all(len(word) >= passwords.MIN_CHARS and word == word.casefold() for word in words)
    project = tomllib.loads((Path(passwords.__file__).parents[3] / "pyproject.toml").read_text())
    assert COMMON.name in project["tool"]["setuptools"]["package-data"]["services.ingest.accounts"]


def test_hashes_are_argon2id_of_owasps_minimum_or_stronger(keeper: Passwords) -> None:
    kept = extract_parameters(keeper.hash_now(GOOD))
    assert (kept.type, kept.memory_cost >= 19456, kept.time_cost >= 2, kept.parallelism) == (Type.ID, True, True, 1)
    assert keeper.hash_now(GOOD) != keeper.hash_now(GOOD)


async def test_the_right_password_is_told_from_wrong_ones(keeper: Passwords) -> None:
    kept = await keeper.hash(GOOD)
    assert (await keeper.verify(kept, GOOD)).right
    for wrong in (GOOD.upper(), GOOD + " ", "", GOOD * 100):
        assert not (await keeper.verify(kept, wrong)).right


def test_nothing_is_cut_off_a_long_password(keeper: Passwords) -> None:
    kept = keeper.hash_now("a" * 255 + "b")
    assert keeper.verify_now(kept, "a" * 255 + "b").right
    assert not keeper.verify_now(kept, "a" * 255 + "c").right
    assert not keeper.verify_now(kept, "a" * 255).right


def test_a_password_is_the_same_in_either_unicode_form_of_its_accents(keeper: Passwords) -> None:
    composed = "crème brûlée"
    kept = keeper.hash_now(composed)
    assert keeper.verify_now(kept, unicodedata.normalize("NFD", composed)).right


def test_an_unreadable_hash_lets_nobody_in(keeper: Passwords) -> None:
    assert not keeper.verify_now("not argon2", GOOD).right


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """The parameters of each verification that argon2 computes."""
    computed: list[tuple[int, int, int]] = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, kept: Any, password: Any) -> Any:
        found = extract_parameters(kept)
        computed.append((found.memory_cost, found.time_cost, found.parallelism))
        return verify(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    return computed


def test_every_comparison_computes_one_hash_of_the_same_cost(
    keeper: Passwords, counted: list[tuple[int, int, int]]
) -> None:
    kept = keeper.hash_now(GOOD)
    for stored, typed in ((kept, GOOD), (kept, "wrong"), (None, GOOD), (None, ""), (kept, "x" * 5000)):
        keeper.verify_now(stored, typed)
    assert counted == [(19456, 2, 1)] * 5


def test_nobody_has_the_password_of_the_hash_that_stands_for_unknown_users(keeper: Passwords) -> None:
    assert not keeper.verify_now(None, "").right
    assert Passwords()._nobodys != keeper._nobodys


def test_a_hash_of_older_parameters_is_made_anew_with_the_right_password_alone(keeper: Passwords) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(GOOD)
    assert keeper.verify_now(old, "wrong").renewed is None
    renewed = keeper.verify_now(old, GOOD).renewed
    assert renewed is not None
    assert keeper.verify_now(renewed, GOOD) == passwords.Verdict(right=True)


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Passwords, threading.Event]]:
    """A keeper whose threads wait for an event, and that event."""
    made, release = Passwords(), threading.Event()
    monkeypatch.setattr(made, "verify_now", lambda _kept, _typed: release.wait(20))
    yield made, release
    release.set()
    made.close()


async def test_beyond_the_bounded_queue_a_sign_in_is_told_to_come_back(
    held: tuple[Passwords, threading.Event],
) -> None:
    keeper, release = held
    waiting = [asyncio.create_task(keeper.verify(None, "x")) for _ in range(THREADS + WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as caught:
        await keeper.verify(None, "x")
    assert (caught.value.status, caught.value.code, caught.value.headers) == (503, "busy", {"Retry-After": "1"})
    release.set()
    await asyncio.gather(*waiting)
    await keeper.verify(None, "x")


async def test_a_client_that_goes_away_leaves_its_place_in_the_queue(held: tuple[Passwords, threading.Event]) -> None:
    keeper, release = held
    waiting = [asyncio.create_task(keeper.verify(None, "x")) for _ in range(THREADS + WAITING_MAX)]
    await asyncio.sleep(0)
    waiting[-1].cancel()
    await asyncio.gather(waiting[-1], return_exceptions=True)
    another = asyncio.create_task(keeper.verify(None, "x"))
    await asyncio.sleep(0)
    assert not another.done()
    release.set()
    await asyncio.gather(*waiting[:-1], another)


async def test_the_event_loop_goes_on_while_passwords_are_hashed(keeper: Passwords) -> None:
    """C3, and the 0.4 s that one sign-in stopped the predecessor for."""
    hashing = asyncio.gather(*(keeper.hash(GOOD) for _ in range(4)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    await hashing
    assert turns > 10
