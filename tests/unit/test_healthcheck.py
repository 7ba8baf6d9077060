"""The check that containers run: only a 200 is healthy, and the reason of any other answer is told."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared.healthcheck import main, problem
from tests.broker import free_port


class Answer(BaseHTTPRequestHandler):
    """`/ok` is healthy, all else is not; so is whoever comes under a name that is not loopback."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ok" and self.headers["Host"] == "localhost" else 503)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_200_is_healthy(server: str):
    assert problem(f"{server}/ok") is None
    assert main([f"{server}/ok"], {}) == 0


def test_without_an_argument_the_environment_names_the_url(server: str):
    assert main([], {"DUBLINE_HEALTH_URL": f"{server}/ok"}) == 0


def test_another_status_is_told(server: str, capsys: pytest.CaptureFixture[str]):
    assert main([f"{server}/readyz"], {}) == 1
    assert capsys.readouterr().err == f"{server}/readyz: HTTP 503\n"


def test_silence_is_told():
    assert "refused" in str(problem(f"http://127.0.0.1:{free_port()}/ok"))


@pytest.mark.parametrize("url", ["", "https://127.0.0.1/ok", "file:///etc/hostname"])
def test_anything_but_http_is_refused(url: str):
    assert problem(url) == f"not an http URL: {url}"
