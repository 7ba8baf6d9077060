"""Every path below the data directory. Nobody else joins these strings.

Lives here: names. Does not live here: file contents (`shared.manifests`), and how a job gets its base directory
(`shared.base_dirs`).
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from shared import base_dirs
from shared.artifacts import write_bytes
from shared.events.names import Stage

STEM_MAX_BYTES = 120
"""Leaves room for suffixes such as `.pt.dub.mkv` inside the 255 bytes of a file name."""

WORK = "work"
LOGS = "logs"
JOB_LOG = "job.log"
OLD_JOB_LOG = "job.log.1"
"""What `JOB_LOG` was before it was rotated."""
ASR_AUDIO = "audio16k.wav"
FINAL_MIX = "final_mix.wav"

_UNSAFE = re.compile(r"[^\w\-. ]+", re.UNICODE)


def safe_stem(file_name: str) -> str:
    """Return a directory name made of a user's file name: letters, digits, `-_. `, at most 120 bytes.

    Control, bidirectional and separator characters go; an empty rest becomes `video`.
    """
    stem = unicodedata.normalize("NFC", file_name).replace("\\", "/").rsplit("/", 1)[-1]
    if "." in stem:
        stem = stem.rsplit(".", 1)[0]
    stem = "".join(c for c in stem if unicodedata.category(c)[0] != "C")
    stem = re.sub(r"\s+", " ", _UNSAFE.sub("_", stem)).strip(" ._")
    return stem.encode()[:STEM_MAX_BYTES].decode(errors="ignore").strip(" ._") or "video"


@dataclass(frozen=True)
class JobPaths:
    """The paths of one job; `base` is `<output>/<project_subdir?>/<stem>` or the job's own variant of it."""

    output_root: Path
    job_id: str
    base: Path
    stem: str

    @property
    def manifests(self) -> Path:
        return self.base / "manifests"

    def stage_manifest(self, stage: Stage) -> Path:
        return self.manifests / f"{stage}.json"

    @property
    def job_manifest(self) -> Path:
        return self.manifests / "job.json"

    @property
    def work(self) -> Path:
        return self.base / WORK / self.job_id

    @property
    def asr_audio(self) -> Path:
        """16 kHz mono PCM, what recognisers and voice activity detectors want."""
        return self.work / ASR_AUDIO

    @property
    def transcript(self) -> Path:
        return self.work / "transcript.json"

    @property
    def translation(self) -> Path:
        return self.work / "translation.json"

    @property
    def speech_manifest(self) -> Path:
        return self.work / "tts_manifest.json"

    @property
    def dialogue(self) -> Path:
        """48 kHz mono float, the dubbed lines alone, as long as the picture."""
        return self.work / "dialogue.wav"

    @property
    def final_mix(self) -> Path:
        """48 kHz, the original channel layout, ducked original plus dialogue at programme loudness."""
        return self.work / FINAL_MIX

    def own_take(self, key: str) -> Path:
        """One spoken line of a job whose words must not outlive it; other jobs' are in `Layout.take`."""
        return self.work / "takes" / f"{key}.wav"

    @property
    def subs(self) -> Path:
        return self.base / "subs"

    def subtitle(self, language: str, extension: str) -> Path:
        """`extension` is `srt` or `vtt`."""
        return self.subs / f"{self.stem}.{language}.{extension}"

    @property
    def dub_mkv(self) -> Path:
        return self.base / f"{self.stem}.dub.mkv"

    @property
    def dub_mp4(self) -> Path:
        return self.base / f"{self.stem}.dub.mp4"

    @property
    def stream_manifest(self) -> Path:
        """The chunks of a streamed dub."""
        return self.base / "stream" / "manifest.json"

    @property
    def review_state(self) -> Path:
        return self.base / "review" / "state.json"

    @property
    def qa_summary(self) -> Path:
        return self.base / "qa" / "summary.json"

    @property
    def job_log(self) -> Path:
        """What happened to the job, for a person to read."""
        return self.base / JOB_LOG

    @property
    def logs(self) -> Path:
        return self.base / LOGS

    def stage_log(self, stage: Stage) -> Path:
        return self.logs / "stages" / f"{stage}.log"

    @property
    def ffmpeg_logs(self) -> Path:
        return self.logs / "ffmpeg"

    def relative(self, path: Path) -> str:
        """Return `path` relative to the output root, with forward slashes."""
        return path.relative_to(self.output_root).as_posix()


@dataclass(frozen=True)
class Layout:
    """The paths of one installation, all below `data`."""

    data: Path

    @property
    def output(self) -> Path:
        return self.data / "output"

    @property
    def input(self) -> Path:
        return self.data / "input"

    @property
    def uploads(self) -> Path:
        return self.input / "uploads"

    def upload_part(self, upload_id: str) -> Path:
        """A file that is still being received or checked."""
        return self.uploads / f"{upload_id}.part"

    def upload_file(self, upload_id: str, extension: str) -> Path:
        """A checked source; the extension tells its container and is not the user's."""
        return self.uploads / f"{upload_id}.{extension}"

    def upload_intent(self, upload_id: str) -> Path:
        """What a submission is about to make, so that one cut off by a crash can be settled."""
        return self.uploads / f"{upload_id}.intent.json"

    def upload_record(self, upload_id: str) -> Path:
        """What is known of an upload that comes in several requests."""
        return self.uploads / f"{upload_id}.upload.json"

    def upload_bytes(self, upload_id: str) -> Path:
        """What has arrived of it; with `upload_journal`, which says how much of that counts."""
        return self.uploads / f"{upload_id}.bytes"

    def upload_journal(self, upload_id: str) -> Path:
        return self.uploads / f"{upload_id}.journal"

    @property
    def state(self) -> Path:
        return self.output / "_state"

    @property
    def scheduler_snapshot(self) -> Path:
        """What the scheduler folded from the log, up to a sequence: losing it costs a longer start."""
        return self.state / "scheduler.json"

    @property
    def in_flight(self) -> Path:
        """Journals of the files that workers have not published yet."""
        return self.state / "in_flight"

    @property
    def trash(self) -> Path:
        """Directories of deleted jobs, each under its job's id, on their way out."""
        return self.state / "trash"

    @property
    def deletions(self) -> Path:
        """One empty file for each deleted job whose files are not all gone, named by its id."""
        return self.state / "deletions"

    @property
    def auth_db(self) -> Path:
        """Accounts and credentials: ingest's, and no projection of the log."""
        return self.state / "auth.db"

    @property
    def auth_key(self) -> Path:
        """What auth.db's sealed and derived secrets hang on; kept apart from it."""
        return self.secrets / "auth-key"

    @property
    def artifacts_key(self) -> Path:
        """The key of encryption at rest, where ARTIFACTS_KEY_FILE names no other."""
        return self.secrets / "artifacts-key"

    @property
    def local_key(self) -> Path:
        """This machine's own key (`shared.access.local_key`)."""
        return self.secrets / "local-key"

    @property
    def gateway_word(self) -> Path:
        """What the gateway and the services show each other, where each runs in a container of its own."""
        return self.secrets / "gateway-word"

    @property
    def oidc_client_secret(self) -> Path:
        """Where a container finds the secret of sign-in with another service, if its operator put one there."""
        return self.secrets / "oidc-client-secret"

    @property
    def setup_token(self) -> Path:
        """The one-time token of the first admin, while there is none."""
        return self.secrets / "setup-token"

    @property
    def setup_token_fallback(self) -> Path:
        """The same, where ingest must not write beside the secrets."""
        return self.state / "setup-token"

    @property
    def jobs_db(self) -> Path:
        return self.state / "jobs.db"

    @property
    def broker(self) -> Path:
        return self.data / "broker"

    @property
    def secrets(self) -> Path:
        """Credentials of the services, mode 0700."""
        return self.data / "secrets"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    def pointer(self, job_id: str) -> Path:
        return self.output / base_dirs.POINTERS / job_id

    def reuse_entry(self, owner: str, key: str) -> Path:
        """The index of finished stages is private to an owner: jobs of two owners never share artifacts."""
        scope = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return self.state / "stages" / scope / key[:2] / f"{key}.json"

    @property
    def takes(self) -> Path:
        """The cache of spoken lines; may be emptied at any time."""
        return self.state / "takes"

    def take(self, owner: str, key: str) -> Path:
        """One synthesised line; kept across jobs of an owner, so that only new or changed lines are spoken again."""
        scope = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return self.takes / scope / key[:2] / f"{key}.wav"

    def job(self, job_id: str, base_dir: str, stem: str) -> JobPaths:
        """Return the paths of the job whose submission recorded this `base_dir` (relative to the output root)."""
        return JobPaths(self.output, job_id, self.output / base_dir, stem)

    def claim_base_dir(self, job_id: str, stem: str, project_subdir: str = "") -> str:
        """Create the job's base directory, mark it with the job's id, and return it relative to the output root.

        The first job with a stem gets `<stem>`; any other gets `<stem>-<end of its id>`: creation is exclusive, so two
        jobs never share one (predecessor fault B1), and none is inside of another's. Raises OSError (a full disk).
        """
        return base_dirs.claim(self.output, job_id, stem, project_subdir)

    def mark_base_dir(self, job_id: str, base_dir: str) -> bool:
        """Make sure that the job has this directory and its marker; False if it is another's. Raises OSError."""
        return base_dirs.mark(self.output, job_id, base_dir)

    def release_base_dir(self, job_id: str, base_dir: str) -> None:
        """Take back a claim; what somebody put into the directory stays. Raises OSError."""
        base_dirs.release(self.output, job_id, base_dir)

    def owner_of(self, base_dir: str) -> str | None:
        """Return the job that a base directory belongs to, None if it is nobody's or not there. Raises OSError."""
        return base_dirs.owner_of(self.output, base_dir)

    def write_pointer(self, job_id: str, base_dir: str, video: str) -> None:
        """Write the stable pointer `jobs/<job_id>/{target,job_id,video}.txt`. Raises OSError."""
        pointer = self.pointer(job_id)
        write_bytes(pointer / base_dirs.TARGET, f"{self.output / base_dir}\n".encode())
        write_bytes(pointer / "job_id.txt", f"{job_id}\n".encode())
        write_bytes(pointer / "video.txt", f"{video}\n".encode())
