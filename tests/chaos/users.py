"""What users do meanwhile: submit videos, and cancel, kill, pause, resume, re-run and reprioritize their jobs.

Lives here: seeded users over HTTP, patient as a real client is, and what they were promised. Does not live here:
whether the promises were kept (`proof`).
"""

import asyncio
import contextlib
import random
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Recorded
from shared.ffmpeg import Ffmpeg
from shared.job.model import Job, JobState
from tests import local_http
from tests.chaos.cluster import Cluster
from tests.chaos.proof import Ordered, fold_into
from tests.dubbing_system import SAMPLE

CLIP_S = 3
PAIRS = (("pt", "en"), ("pt", "en"), ("en", "pt"), ("pt", "es"))
"""As submitted; cheap ones come more often. The engines do not mind that the reader speaks English."""

IN_FLIGHT = 5
POLL_S = 0.3
ACTION_EVERY_S = 2.0
PAUSED_S = (0.5, 3.0)
ACTIONS = {"cancel": 1, "kill": 1, "pause": 4, "rerun": 3, "priority": 1}
REQUEST_S = 20.0
RETRY_S = 0.3
ACCEPTED = (200, 202)


def make_clip(path: Path) -> bytes:
    """Return three seconds of a human reader, with a small picture."""
    cut = ["-t", str(CLIP_S), "-i", str(SAMPLE), "-vf", "scale=160:90", "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([Ffmpeg.find().ffmpeg, "-v", "error", *cut, "-c:a", "aac", str(path)], check=True)
    return path.read_bytes()


@dataclass
class Users:
    """Everybody who uses the cluster; `jobs` holds what was answered with 202."""

    cluster: Cluster
    rng: random.Random
    clip: bytes
    jobs: dict[str, Ordered] = field(default_factory=dict)
    actions: Counter[str] = field(default_factory=Counter)
    seen: list[Recorded] = field(default_factory=list)
    _client: httpx.AsyncClient = field(
        default_factory=lambda: local_http.async_client(timeout=REQUEST_S, trust_env=False)
    )

    async def work(self) -> None:
        """Submit and meddle until cancelled. A submission under way is brought to its end first."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._meddle_for_ever())
            tasks.create_task(self._submit_for_ever())

    async def settle(self, log: JetStreamEventLog, timeout_s: float) -> None:
        """Resume what is paused until every job has ended; `seen` is then the whole log. Raises TimeoutError."""
        jobs: dict[str, Job] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while not self.seen or any(not job.state.terminal for job in jobs.values()):
                    for job in jobs.values():
                        if job.state is JobState.PAUSED:
                            await self._act(self.jobs[job.id], "resume")
                    await asyncio.sleep(POLL_S)
                    while batch := await log.read(after=self.seen[-1].seq if self.seen else 0, limit=1000):
                        self.seen += batch
                        fold_into(jobs, batch)
        except TimeoutError:
            waiting = [f"{job.id} {job.state}" for job in jobs.values() if not job.state.terminal]
            raise TimeoutError(f"not within {timeout_s:g} s: the end of {', '.join(waiting)}") from None

    async def close(self) -> None:
        await self._client.aclose()

    async def _submit_for_ever(self) -> None:
        number = 0
        while True:
            if len(await self._look()) >= IN_FLIGHT:
                await asyncio.sleep(POLL_S)
                continue
            number += 1
            submitting = asyncio.create_task(self._submit(number))
            try:
                await asyncio.shield(submitting)
            except asyncio.CancelledError:
                await submitting
                raise

    async def _submit(self, number: int) -> None:
        """Ask until there is an answer, always with the same key: E1."""
        key = f"{self.rng.getrandbits(64):x}"
        source, target = self.rng.choice(PAIRS)
        unique = self.clip + b"\x00\x00\x00\x10free" + bytes.fromhex(f"{number:016x}")
        fields = {"src_lang": source, "tgt_lang": target, "mode": "low", "idempotency_key": key}
        while True:
            files = {"file": (f"clip {number}.mp4", unique)}
            answer = await self._post("/api/jobs", data=fields, files=files)
            if answer is not None and answer.status_code in ACCEPTED:
                job_id = str(answer.json()["id"])
                self.jobs[job_id] = Ordered(job_id)
                return
            assert answer is None or answer.status_code >= 500, answer.text
            await asyncio.sleep(RETRY_S)

    async def _meddle_for_ever(self) -> None:
        async with asyncio.TaskGroup() as resuming:
            while True:
                await asyncio.sleep(self.rng.uniform(0.5, 1.5) * ACTION_EVERY_S)
                action = self.rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]
                suitable = [job for job in self.jobs.values() if job.open != (action == "rerun")]
                if not suitable:
                    continue
                job = self.rng.choice(suitable)
                await self._act(job, action)
                if action == "pause":
                    resuming.create_task(self._resume_later(job))

    async def _resume_later(self, job: Ordered) -> None:
        await asyncio.sleep(self.rng.uniform(*PAUSED_S))
        await self._act(job, "resume")

    async def _act(self, job: Ordered, action: str) -> None:
        """Do it once; an answer that does not come leaves open whether it was done."""
        if action in ("cancel", "kill"):
            job.cancel_asked = True
        if action == "rerun":
            job.cancel_confirmed = False
            job.state = JobState.QUEUED
        body = {"json": {"priority": self.rng.randrange(1001)}} if action == "priority" else {}
        answer = await self._post(f"/api/jobs/{job.id}/{action}", **body)
        done = answer is not None and answer.status_code in ACCEPTED
        self.actions[action if done else f"{action}, refused or no answer"] += 1
        if done and action in ("cancel", "kill"):
            job.cancel_confirmed = True

    async def _look(self) -> list[Ordered]:
        """Ask how the open jobs are doing; return those that are still open, as far as can be known."""
        for job in [job for job in self.jobs.values() if job.open]:
            with contextlib.suppress(httpx.HTTPError):
                answer = await self._client.get(f"{self.cluster.url('library')}/api/jobs/{job.id}")
                if answer.status_code == 200:
                    job.state = JobState(answer.json()["state"])
        return [job for job in self.jobs.values() if job.open]

    async def _post(self, path: str, **body: Any) -> httpx.Response | None:
        try:
            return await self._client.post(self.cluster.url("ingest") + path, **body)
        except httpx.HTTPError:
            return None
