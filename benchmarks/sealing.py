"""`python -m benchmarks sealing`: an encrypted file against a plain one, of the same bytes, read and written in turn.

Lives here: random ranges of 1 MiB over HTTP from one library, the same without HTTP, and appending as an upload does.
The goal (0.9 of plain ranges) is the figure that the format was chosen by; it is of what a player gets.
"""

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from benchmarks.rows import Row
from benchmarks.signed_in import headers
from benchmarks.stack import Stack
from services.standalone import ports
from services.standalone.plan import module
from shared.sealing.keys import vault_of
from shared.sealing.reader import SealedReader
from shared.sealing.vault import Vault
from shared.sealing.writer import SealedWriter
from shared.secret_files import new_secret
from shared.settings import Settings

FILM_MIB = 256
RANGE = 1 << 20
RANGES = 100
ROUNDS = 9
HTTP_GOAL = ">= 0.9"


def rows(directory: Path) -> Iterator[Row]:
    """Yield the figures; each pair is measured in turn, round by round, and its ratio is the rounds' median."""
    with Stack(directory / "data") as stack:
        key = new_secret()
        made = vault_of(Settings.model_validate({"data_dir": stack.layout.data, "ARTIFACTS_KEY": key}))
        assert made is not None
        base = stack.layout.output / "film"
        base.mkdir(parents=True)
        plain, sealed = base / "plain.dub.mp4", base / "sealed.dub.mp4"
        _write_film(plain)
        made.seal(plain, sealed, sealed)
        yield from _compared("1 MiB ranges by HTTP", _over_http(stack, key, plain.name, sealed.name), HTTP_GOAL)
        yield from _compared("1 MiB ranges from memory", _directly(made, plain, sealed))
        yield from _compared("appending 1 MiB blocks", _appending(made, directory))


Timed = tuple[Callable[[], float], Callable[[], float]]
"""Seconds that a round took: of the plain kind, of the sealed kind."""


def _compared(name: str, rounds: Iterator[Timed], goal: str | None = None) -> Iterator[Row]:
    for plain, sealed in rounds:
        plain(), sealed()  # the first of each is not counted
        times = [(plain(), sealed()) for _ in range(ROUNDS)]
        rates = [RANGES * RANGE / 1e6 / statistics.median(each) for each in zip(*times, strict=True)]
        yield Row(f"{name}: plain", rates[0], "MB/s")
        yield Row(f"{name}: encrypted", rates[1], "MB/s")
        ratio = statistics.median(of_plain / of_sealed for of_plain, of_sealed in times)
        yield Row(f"{name}: encrypted", ratio, "x", "plain", goal)


def _over_http(stack: Stack, key: str, *names: str) -> Iterator[Timed]:
    port = ports.choose(["library"], {})["library"]
    stack.start_broker()
    stack.create_streams()
    environment = {"DUBLINE_LIBRARY_PORT": str(port), "ARTIFACTS_KEY": key}
    library = stack.start(*module("services.library"), user="library", environment=environment, name="library")
    library.wait_ready(f"http://{ports.LOOPBACK}:{port}/readyz")
    films = f"http://{ports.LOOPBACK}:{port}/files/film"
    with httpx.Client(headers=headers(), trust_env=False, timeout=30) as client:

        def reading(name: str) -> Callable[[], float]:
            def one(offset: int) -> None:
                wanted = {"Range": f"bytes={offset}-{offset + RANGE - 1}"}
                with client.stream("GET", f"{films}/{name}", headers=wanted) as answer:
                    if sum(map(len, answer.iter_raw())) != RANGE:
                        raise RuntimeError(f"{name}: {answer.status_code}")

            return lambda: _timed(one)

        yield reading(names[0]), reading(names[1])


def _directly(vault: Vault, plain: Path, sealed: Path) -> Iterator[Timed]:
    with plain.open("rb") as one, sealed.open("rb") as other:
        reader = SealedReader(other.fileno(), vault.keys)
        yield (
            lambda: _timed(lambda offset: os.pread(one.fileno(), RANGE, offset)),
            lambda: _timed(lambda offset: reader.pread(offset, RANGE)),
        )


def _appending(vault: Vault, directory: Path) -> Iterator[Timed]:
    block = os.urandom(RANGE)

    def plain() -> float:
        with (directory / "growing").open("wb", buffering=0) as file:
            return _timed(lambda _: file.write(block))

    def sealed() -> float:
        with (directory / "growing").open("w+b") as file:
            writer = SealedWriter(file.fileno(), vault.keys, "up_benchmark")
            return _timed(lambda _: writer.append(block))

    yield plain, sealed


def _timed(step: Callable[[int], object]) -> float:
    dice = random.Random(1)  # the same places for both kinds
    offsets = [dice.randrange((FILM_MIB << 20) - RANGE) for _ in range(RANGES)]
    started = time.perf_counter()
    for offset in offsets:
        step(offset)
    return time.perf_counter() - started


def _write_film(path: Path) -> None:
    with path.open("wb") as film:
        for _ in range(FILM_MIB):
            film.write(os.urandom(1 << 20))
