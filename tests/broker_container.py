"""A real broker for tests in a container, by testcontainers.

Lives here: an image of the pinned binary and nothing else, so that no registry is needed, and when it is used.

DUBLINE_TEST_BROKER is `container`, `binary`, or `auto` (the default): in a container where a Docker engine answers.
"""

import contextlib
import io
import socket
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.broker import CONFIG, free_port, server_binary
from tests.docker_engine import NoEngineError, answering_engine

IMAGE = "dubline-broker:test"
PORT = 4222
USER = "10001:10001"
HOME = "broker"
DOCKERFILE = f"""
FROM scratch
COPY --chown={USER} {HOME} /{HOME}
USER {USER}
ENTRYPOINT ["/{HOME}/nats-server", "-c", "/{HOME}/nats.conf"]
"""
START_TIMEOUT_S = 20.0


def wanted_in_container(environ: Mapping[str, str]) -> bool:
    """Return whether tests shall use a broker in a container. Raises NoEngineError if that was demanded in vain."""
    kind = environ.get("DUBLINE_TEST_BROKER", "auto")
    if kind == "binary":
        return False
    try:
        answering_engine(environ)
    except NoEngineError:
        if kind == "container":
            raise
        return False
    return True


@dataclass
class ContainerBroker:
    """The store is in the container's own file system, which outlives its process."""

    container: DockerContainer
    port: int

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.container.get_wrapped_container().start()
        wait_for_greeting(self.port)

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        self.container.get_wrapped_container().kill()
        self.container.get_wrapped_container().wait()

    def stop(self) -> None:
        self.container.get_wrapped_container().stop()


def wait_for_greeting(port: int) -> None:
    """Return when a broker greets: the engine's proxy takes connections before there is one. Raises TimeoutError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            if connection.recv(4) == b"INFO":
                return
        time.sleep(0.02)
    raise TimeoutError(f"no broker greets on port {port}")


@contextlib.contextmanager
def running_broker_container() -> Iterator[ContainerBroker]:
    """Yield a started broker; its container and store are removed afterwards. Raises docker's errors."""
    # The reaper is an image of a registry; the block below removes the container without it.
    testcontainers_config.ryuk_disabled = True
    port = free_port()
    container = DockerContainer(IMAGE)
    # with_bind_ports knows no address and would publish a broker without accounts to the neighbours.
    cast("dict[str, Any]", container.ports)[str(PORT)] = ("127.0.0.1", port)
    client = container.get_docker_client().client
    try:
        client.images.build(fileobj=_context(), custom_context=True, tag=IMAGE, rm=True, forcerm=True)
        with container:
            wait_for_greeting(port)
            yield ContainerBroker(container, port)
    finally:
        client.close()


def _context() -> io.BytesIO:
    """Return a build context: the Dockerfile, the binary and its configuration."""
    config = CONFIG.format(listen=f"0.0.0.0:{PORT}", store=f"/{HOME}/store")
    files = {
        "Dockerfile": DOCKERFILE.encode(),
        f"{HOME}/nats-server": server_binary().read_bytes(),
        f"{HOME}/nats.conf": config.encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    return buffer
