"""`dubline dub`: send one video to a running Dubline and wait for the result, over the HTTP API that everyone uses.

Lives here: the submission and the exit codes. Does not live here: arguments (`cli`), following (`dub_follow`), words
(`dub_view`). Exit codes: 0 a finished file; 1 the job failed or was cancelled; 2 the input was refused; 69 the server
does not answer; 130 Ctrl-C.
"""

import io
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console

from services.standalone.credential import credential_headers, sign_in_hint
from services.standalone.direct import transport_to
from services.standalone.dub_follow import Follower, ServerGoneError
from services.standalone.dub_view import Display, UploadMeter, summary

EX_FAILED = 1
EX_REFUSED = 2
EX_UNAVAILABLE = 69
"""sysexits.h: a service is unavailable."""
EX_INTERRUPTED = 130

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 600.0
"""The server examines the whole video before it answers."""
BUSY_FOR_S = 90.0
"""How long a server that says "try again" is taken at its word: its worker may still be starting."""
PAUSE_S = 2.0
READ_BLOCK = 1 << 20
ACCEPTED = frozenset({200, 202})
PASSING = frozenset({502, 503, 504})
"""A service that restarts behind the gateway, a log or a worker that is not there yet."""


class RefusedError(Exception):
    """The server will not take this input; the text is its reason."""


class UnavailableError(Exception):
    """There is no server, or it cannot accept anything now."""


class MeteredFile(io.RawIOBase):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, meter: Callable[[int], None]) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._meter = meter

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)
        self._meter(self._file.tell())
        return count

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()


def dub(
    server: str,
    path: Path,
    *,
    target: str,
    source: str = "auto",
    mode: str = "medium",
    device: str = "auto",
    keep: str = "",
    private: bool = False,
    output_root: Path | None = None,
    console: Console | None = None,
) -> int:
    """Dub one video and return the exit code.

    `keep` is a cache policy, "" for the server's own; `output_root` is its output folder, if it is on this machine.
    """
    console = console or Console()
    display = Display(console)
    fields = {"tgt_lang": target, "src_lang": source, "mode": mode, "device": device, "cache_policy": keep}
    fields |= {"privacy": "on"} if private else {}
    job_id = ""
    if not path.is_file():
        return _say(f"{str(path)!r} is not a file.", EX_REFUSED)
    try:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        headers, transport = credential_headers(server), transport_to(server)
        with httpx.Client(
            base_url=server, headers=headers, timeout=timeout, transport=transport, trust_env=False
        ) as client:
            with display.shown():
                meter = UploadMeter(display, path.stat().st_size, often=console.is_terminal)
                job_id = _submit(client, path, fields, display, meter)
                display.note(f"Accepted as job {job_id}")
                job = Follower(client, job_id, display).until_finished()
            for line in summary(job, server, output_root):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    except RefusedError as error:
        return _say(str(error), EX_REFUSED)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return _say(f"{server!r} is not an address: name one such as http://127.0.0.1:8000.", EX_REFUSED)
    except UnavailableError as error:
        return _say(str(error), EX_UNAVAILABLE)
    except ServerGoneError:
        return _say(f"{server} does not answer any more. The job keeps its place: {job_id}", EX_UNAVAILABLE)
    except KeyboardInterrupt:
        left = f"The job keeps running: {server}/ui/jobs/{job_id}" if job_id else "The upload was abandoned."
        return _say(left, EX_INTERRUPTED)
    return 0 if job.state == "DONE" and job.has_video else EX_FAILED


def _say(text: str, code: int) -> int:
    print(f"dubline: {' '.join(text.split())}", file=sys.stderr)
    return code


def _submit(
    client: httpx.Client, path: Path, fields: dict[str, str], display: Display, meter: Callable[[int], None]
) -> str:
    """Send the video, again where that may help, and return the job's id: one key for all tries makes one job.

    Raises RefusedError, UnavailableError.
    """
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    name = os.fsencode(path.name).decode("utf-8", errors="replace")
    deadline = time.monotonic() + BUSY_FOR_S
    connected = False
    while True:
        try:
            with io.BufferedReader(MeteredFile(path, meter), READ_BLOCK) as file:
                files = {"file": (name, file, "application/octet-stream")}
                answer = client.post("/api/jobs", data=fields, files=files, headers=headers)
            if answer.status_code in ACCEPTED:
                return str(answer.json()["id"])
            connected = True
            reason = _try_again(answer)
        except OSError as error:
            raise RefusedError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
        except httpx.ConnectError as error:
            reason = f"Nothing answers at {client.base_url}. Start it with `dubline up`, or name another with --server."
            if not connected:
                raise UnavailableError(reason) from error
        except httpx.UnsupportedProtocol:
            raise
        except httpx.TransportError as error:
            connected = True
            reason = f"The connection broke while the video was sent ({type(error).__name__})."
        if time.monotonic() > deadline:
            raise UnavailableError(reason)
        display.note(f"{reason} Trying again…")
        time.sleep(PAUSE_S)


def _try_again(answer: httpx.Response) -> str:
    """Return why the server accepts nothing at this moment. Raises RefusedError, UnavailableError if it never will."""
    try:
        reason = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        reason = f"The server answered {answer.status_code}."
    if hint := sign_in_hint(answer):
        raise RefusedError(hint)
    if answer.status_code < 500 or answer.status_code == httpx.codes.INSUFFICIENT_STORAGE:
        raise RefusedError(reason)
    if answer.status_code not in PASSING:
        raise UnavailableError(reason)
    return reason
