"""A file that is encrypted at rest is served as the plain file would be, and never as it lies on the disk."""

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from shared.sealing.format import MAGIC, chunk_at
from shared.sealing.keyring import Keyring
from shared.sealing.vault import Vault
from tests import local_http
from tests.integration.library.conftest import CONTENTS, LibraryProcess, running_library
from tests.integration.library.files.conftest import STEM, TOKEN, Gateway, as_written_before_the_record

KEY = b"k" * 32
FILM = b"".join(number.to_bytes(4, "big") for number in range(50_000))  # 200 kB: four chunks
ETAG = f'"{hashlib.sha256(FILM).hexdigest()}"'


@dataclass(frozen=True)
class Sealed:
    library: LibraryProcess
    gateway: Gateway
    job_id: str

    @property
    def film(self) -> Path:
        return self.library.layout.output / STEM / f"{STEM}.dub.mp4"

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}/files/{quote(STEM)}/{quote(STEM)}.dub.mp4"

    def get(self, *, through: str = "library", method: str = "GET", **headers: str) -> httpx.Response:
        port = self.gateway.port if through == "gateway" else self.library.port
        return local_http.request(method, self.url(port), headers=headers, timeout=30)


def seal(library: LibraryProcess, path: Path) -> None:
    """Do to a file what the worker does before it publishes it."""
    vault = Vault(Keyring((KEY,)), frozenset({"outputs"}), library.layout.output)
    sealed = path.with_name("sealed")
    vault.seal(path, sealed, path)
    sealed.replace(path)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("DUBLINE_FILES_HANDOFF", "caddy"),
            ("DUBLINE_GATEWAY_TOKEN", TOKEN),
            ("ARTIFACTS_KEY", base64.b64encode(KEY).decode()),
        ):
            patch.setenv(name, value)
        patch.setitem(CONTENTS, "dub.mp4", FILM)
        with running_library(tmp_path_factory.mktemp("library")) as library:
            job_id = library.finished_job(stem=STEM)
            base = library.layout.output / STEM
            seal(library, base / f"{STEM}.dub.mp4")
            as_written_before_the_record(base)
            gateway = Gateway(library, library.layout.output)
            with gateway.running(tmp_path_factory.mktemp("gateway")):
                yield Sealed(library, gateway, job_id)


@pytest.mark.parametrize("through", ["library", "gateway"])
def test_the_whole_file_its_length_and_its_digest_are_the_plain_ones(sealed: Sealed, through: str) -> None:
    assert sealed.film.read_bytes().startswith(MAGIC)
    answer = sealed.get(through=through)
    assert (answer.status_code, answer.content) == (200, FILM)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["content-type"] == "video/mp4"
    head = sealed.get(through=through, method="HEAD")
    assert (head.headers["content-length"], head.headers["etag"]) == (str(len(FILM)), ETAG)


@pytest.mark.parametrize("through", ["library", "gateway"])
@pytest.mark.parametrize(("first", "last"), [(0, 0), (65_530, 65_545), (1, 199_998), (131_072, 199_999)])
def test_a_range_is_of_the_plain_file(sealed: Sealed, through: str, first: int, last: int) -> None:
    answer = sealed.get(through=through, Range=f"bytes={first}-{last}")
    assert (answer.status_code, answer.content) == (206, FILM[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(FILM)}"


def test_several_ranges_conditions_and_the_end_are_of_the_plain_file(sealed: Sealed) -> None:
    several = sealed.get(Range="bytes=0-9,100000-100009")
    assert several.status_code == 206
    assert FILM[:10] in several.content
    assert FILM[100_000:100_010] in several.content
    assert sealed.get(Range=f"bytes={len(FILM)}-").headers["content-range"] == f"bytes */{len(FILM)}"
    assert sealed.get(**{"If-None-Match": ETAG}).status_code == 304
    assert sealed.get(Range="bytes=0-9", **{"If-Range": ETAG}).status_code == 206


def test_a_list_of_files_tells_the_plain_size(sealed: Sealed) -> None:
    answer = local_http.get(f"{sealed.library.url}/api/jobs/{sealed.job_id}/files", timeout=10).json()
    (film,) = [file for file in answer["files"] if file["kind"] == "mp4"]
    assert (film["size_bytes"], f'"{film["sha256"]}"') == (len(FILM), ETAG)


def test_the_gateway_is_not_told_to_send_the_sealed_file_itself(sealed: Sealed) -> None:
    assert "x-accel-redirect" not in sealed.get(**{"X-Dubline-Gateway": TOKEN}).headers
    plain = f"http://127.0.0.1:{sealed.library.port}/files/{quote(STEM)}/{quote(STEM)}.dub.mkv"
    handed = local_http.get(plain, headers={"X-Dubline-Gateway": TOKEN}, timeout=10)
    assert "x-accel-redirect" in handed.headers


def test_a_changed_cut_or_exchanged_file_is_refused(sealed: Sealed) -> None:
    whole = sealed.film.read_bytes()
    other = sealed.film.with_name("other.dub.mp4")
    other.write_bytes(FILM[::-1])
    seal(sealed.library, other)
    try:
        for damaged in (whole[:-1], whole[: chunk_at(2)], whole[:100] + b"!" + whole[101:], other.read_bytes()):
            sealed.film.write_bytes(damaged)
            answer = sealed.get()
            assert (answer.status_code, answer.json()["code"]) == (500, "file_unreadable")
    finally:
        other.unlink()
        sealed.film.write_bytes(whole)
        os.utime(sealed.film, (1_000_000_000, 1_000_000_000))
    assert sealed.get().content == FILM


def test_without_its_key_a_file_is_refused_and_its_sealed_bytes_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTENTS, "dub.mp4", FILM)
    monkeypatch.delenv("ARTIFACTS_KEY", raising=False)  # the other library's
    with running_library(tmp_path) as library:
        library.finished_job()
        film = library.layout.output / "film" / "film.dub.mp4"
        seal(library, film)
        answer = local_http.get(f"{library.url}/files/film/film.dub.mp4", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (500, "file_unreadable")
        assert MAGIC not in answer.content
