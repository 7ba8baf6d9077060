"""Room is promised once: the sums hold whatever fifty threads do."""

import random
import threading

import pytest

from services.ingest.uploads.quota import Limits, Quota
from shared.problems import Problem

THREADS = 50


def made(*, uploads: int = 16, total: int = 10_000, free: int = 1_000_000, floor: int = 0) -> Quota:
    return Quota(Limits(uploads, total, floor), lambda: free)


def refusal(quota: Quota, upload_id: str, owner: str, total: int) -> Problem:
    with pytest.raises(Problem) as found:
        quota.reserve(upload_id, owner, total)
    return found.value


def test_a_user_has_so_many_uploads_and_so_many_bytes():
    quota = made(uploads=2, total=100)
    quota.reserve("a", "u", 60)
    problem = refusal(quota, "b", "u", 41)
    assert (problem.status, problem.code, problem.extra) == (
        429, "quota_exceeded", {"quota": "open_upload_bytes", "limit": 100, "remaining": 40},
    )  # fmt: skip
    quota.reserve("b", "u", 40)
    assert refusal(quota, "c", "u", 0).extra["quota"] == "open_uploads"
    quota.reserve("c", "somebody else", 100)
    quota.release("a")
    quota.reserve("d", "u", 60)
    assert quota.reserved("u") == (2, 100)


def test_what_others_were_promised_is_not_free():
    quota = made(free=1000, floor=200)
    quota.reserve("a", "u", 500)
    problem = refusal(quota, "b", "v", 301)
    assert (problem.status, problem.code) == (507, "disk_full")
    quota.reserve("b", "v", 300)


def test_what_arrived_is_gone_from_the_disk_and_not_counted_twice():
    free = 1000
    quota = Quota(Limits(16, 10_000, 0), lambda: free)
    quota.reserve("a", "u", 600)
    free -= 600
    quota.arrived("a", 600)
    quota.reserve("b", "u", 400)
    assert refusal(quota, "c", "u", 1).status == 507


def test_an_upload_from_before_a_restart_keeps_its_room():
    quota = made(uploads=1, free=10)
    quota.resume("old", "u", 500, 100)  # more than would be promised now
    assert refusal(quota, "new", "u", 1).status == 429


@pytest.mark.parametrize("seed", range(3))
def test_fifty_threads_never_reserve_more_than_there_is(seed: int):
    limit, free, floor = 1_000, 2_600, 100
    quota = made(uploads=12, total=limit, free=free, floor=floor)
    accepted: list[tuple[str, int]] = []
    over: list[str] = []
    start = threading.Barrier(THREADS)

    def create(number: int) -> None:
        rng, owner = random.Random(seed * 1000 + number), f"u{number % 3}"
        start.wait()
        for attempt in range(20):
            size = rng.randrange(1, 200)
            try:
                quota.reserve(f"{number}-{attempt}", owner, size)
            except Problem:
                continue
            accepted.append((owner, size))
            count, total = quota.reserved(owner)
            if count > 12 or total > limit:
                over.append(owner)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not over
    by_owner = {owner: [size for who, size in accepted if who == owner] for owner in ("u0", "u1", "u2")}
    assert all(len(sizes) <= 12 and sum(sizes) <= limit for sizes in by_owner.values())
    assert 0 < sum(size for _, size in accepted) <= free - floor
    assert all(quota.reserved(owner) == (len(sizes), sum(sizes)) for owner, sizes in by_owner.items())
