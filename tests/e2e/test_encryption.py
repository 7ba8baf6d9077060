"""V11: with encryption at rest a job over an encrypted upload works from end to end, and the disk tells nothing of it.

Lives here: one whole system with the switch on. The format is tests/unit/sealing's, each service's part the others'.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.standalone import cli_keys
from shared.ffmpeg import Ffmpeg
from shared.media_probe import probe
from shared.sealing.classes import class_of
from shared.sealing.format import MAGIC
from shared.secret_files import new_secret
from shared.settings import Settings, default_models_dir
from tests import local_http
from tests.dubbing_system import SAMPLE, System
from tests.system import running_system

MARKER = "marker-4f1c2a9e"
CHUNK = 256 << 10


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    data = tmp_path_factory.mktemp("encrypted")
    key = Settings.model_validate({"data_dir": data}).layout.artifacts_key
    cli_keys.make_key_file(key)
    environment = {"DUBLINE_MODELS_DIR": str(default_models_dir()), "ENCRYPT_AT_REST": "1"}
    with running_system(data, environment) as running:
        yield System(running)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of the sample; a marker in its tags is in the clear in the file, as is all of its sound."""
    path = tmp_path_factory.mktemp("source") / "film.mp4"
    tags = ["-metadata", f"comment={MARKER}"]
    Ffmpeg.find().run(["-i", f"file:{SAMPLE}", "-t", "12", "-c", "copy", *tags, "-f", "mp4", f"file:{path}"])
    assert MARKER.encode() in path.read_bytes()
    return path


def uploaded(system: System, video: Path) -> str:
    """Upload in chunks, as the predecessor's clients do; return the upload's id."""
    data = video.read_bytes()
    asked = {"filename": video.name, "total_bytes": len(data)}
    begun = local_http.post(f"{system.url}/api/uploads/init", json=asked, timeout=30)
    assert begun.is_success, begun.text
    upload, size = begun.json()["upload_id"], begun.json()["chunk_bytes"]
    for index, offset in enumerate(range(0, len(data), size)):
        url = f"{system.url}/api/uploads/{upload}/chunk?index={index}&offset={offset}"
        chunk = data[offset : offset + size]
        headers = {"X-Chunk-Sha256": hashlib.sha256(chunk).hexdigest()}
        sent = local_http.post(url, content=chunk, headers=headers, timeout=30)
        assert sent.is_success, sent.text
    final = {"final_sha256": hashlib.sha256(data).hexdigest()}
    done = local_http.post(f"{system.url}/api/uploads/{upload}/complete", json=final, timeout=30)
    assert done.is_success, done.text
    return str(upload)


def files_of(data: Path) -> list[Path]:
    return [file for file in data.rglob("*") if file.is_file()]


def test_v11_an_encrypted_upload_is_dubbed_played_and_found_nowhere_on_the_disk(
    encrypted: System, video: Path, tmp_path: Path
) -> None:
    body = {"upload_id": uploaded(encrypted, video), "tgt_lang": "pt", "mode": "low"}
    answer = local_http.post(f"{encrypted.url}/api/jobs", json=body, timeout=120)
    assert answer.status_code == 202, answer.text
    job = encrypted.finished(answer.json()["id"])
    assert job["state"] == "DONE", job

    # Played: whole, in parts, by its digest, with its plain length.
    outputs = encrypted.get(f"/api/jobs/{job['id']}/files")["files"]
    assert {file["kind"] for file in outputs} >= {"mkv", "mp4", "subs"}
    film = next(file for file in outputs if file["kind"] == "mp4")
    url = encrypted.url + film["url"]
    whole = local_http.get(url, timeout=30)
    assert len(whole.content) == film["size_bytes"]
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"' == f'"{film["sha256"]}"'
    head = local_http.head(url, timeout=30)
    assert (head.status_code, int(head.headers["content-length"])) == (200, film["size_bytes"])
    part = local_http.get(url, headers={"Range": "bytes=100000-199999"}, timeout=30)
    assert (part.status_code, part.content) == (206, whole.content[100_000:200_000])
    assert local_http.get(url, headers={"If-None-Match": whole.headers["etag"]}, timeout=30).status_code == 304
    copy = tmp_path / "dub.mp4"
    copy.write_bytes(whole.content)
    assert probe(Ffmpeg.find(), copy).video is not None

    # Nowhere: neither the source, nor what was said, nor the dub.
    subtitles = [local_http.get(encrypted.url + file["url"], timeout=30).text for file in outputs if file["lang"]]
    said = {line for text in subtitles for line in text.splitlines() if len(line) > 12 and re.search("[a-z]", line)}
    said -= {line for line in said if "-->" in line or line.startswith("WEBVTT")}
    assert said
    source = video.read_bytes()
    pieces = [MARKER.encode(), *(source[at : at + 48] for at in range(5000, len(source) - 48, len(source) // 7))]
    pieces += [whole.content[at : at + 48] for at in range(5000, len(whole.content) - 48, len(whole.content) // 7)]
    pieces += [line.encode() for line in said]
    for file in files_of(encrypted.data):
        raw = file.read_bytes()
        assert not [piece for piece in pieces if piece in raw], file
    below = encrypted.output
    classes = {file: class_of(file.relative_to(below).as_posix()) for file in files_of(below)}
    sealed = [file for file, name in classes.items() if name is not None]
    assert {classes[file] for file in sealed} == {"audio", "transcripts", "outputs"}
    assert all(file.read_bytes().startswith(MAGIC) for file in sealed)
    assert len(list(encrypted.standalone.layout.uploads.glob("up_*.mp4"))) == 1


def test_the_same_film_again_uses_the_sealed_stages_of_the_first_job(encrypted: System, video: Path) -> None:
    job = encrypted.finished(encrypted.submit("pt", video, mode="low"))
    assert job["state"] == "DONE", job
    reused = {stage["stage"] for stage in job["stages"] if stage["reused_from"]}
    assert reused == {"audio", "transcribe", "translate", "tts", "mix", "mux"}
    sources = list(encrypted.standalone.layout.uploads.glob("up_*.mp4"))
    assert len(sources) == 2  # of the chunks before, and of this form
    assert all(source.read_bytes().startswith(MAGIC) for source in sources)
    film = next(file for file in encrypted.get(f"/api/jobs/{job['id']}/files")["files"] if file["kind"] == "mp4")
    assert hashlib.sha256(local_http.get(encrypted.url + film["url"], timeout=30).content).hexdigest() == film["sha256"]


def test_the_key_itself_is_in_no_log(encrypted: System) -> None:
    key = encrypted.standalone.layout.artifacts_key.read_text().strip()
    assert key != new_secret()
    for file in files_of(encrypted.data):
        if file != encrypted.standalone.layout.artifacts_key:
            assert key.encode() not in file.read_bytes(), file
