"""/files: random ranges of 1 MiB of a large film, by one client and by fifty.

Lives here: the servers and the rounds. From Python against nginx with sendfile, and handed off to the gateway against
the same Caddy's own file server; wrk asks each in turn, several rounds, so that a busy machine is busy for all of them.
"""

import os
import re
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.debian import NoPackageError, program
from benchmarks.rows import Row
from benchmarks.signed_in import headers
from benchmarks.stack import Stack
from services.standalone import ports
from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from services.standalone.plan import module

FILM_MIB = 512
RANGE = 1 << 20
CLIENTS = (1, 50)
ROUNDS = 5
ROUND_S = 3
PATH = "/files/film/film.mp4"
TOKEN = "bench"
PYTHON_GOAL, HANDOFF_GOAL = ">= 0.6", ">= 0.65"

NGINX = """
daemon off;
worker_processes auto;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
{user}
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {directory}/nginx-1; proxy_temp_path {directory}/nginx-2; fastcgi_temp_path {directory}/nginx-3;
  uwsgi_temp_path {directory}/nginx-4; scgi_temp_path {directory}/nginx-5;
  server {{ listen 127.0.0.1:{port}; location /files/ {{ alias {root}/; }} }}
}}
"""
CADDY = """
{{
	admin off
	auto_https off
	persist_config off
	log {{
		level ERROR
	}}
}}
http://:{port} {{
	bind 127.0.0.1
	handle_path /files/* {{
		root {root}
		file_server
	}}
}}
"""
RANDOM_RANGES = """
math.randomseed(os.time())
request = function()
  local first = math.random(0, {last})
  return wrk.format("GET", nil, {{["Range"] = "bytes=" .. first .. "-" .. (first + {length} - 1)}})
end
"""


@dataclass(frozen=True)
class Wrk:
    """The load generator."""

    binary: Path
    environment: Mapping[str, str]
    script: Path

    def requests_per_s(self, url: str, clients: int) -> float:
        """Return how many ranges a server sent. Raises RuntimeError if any answer was an error."""
        load = ["-t1", f"-c{clients}", f"-d{ROUND_S}s", "--timeout", "30s"]
        argv = [str(self.binary), *load, "-s", str(self.script), url]
        said = subprocess.run(argv, env=dict(self.environment), capture_output=True, text=True, check=True).stdout
        found = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if found is None or "Non-2xx" in said:
            raise RuntimeError(f"{url} failed:\n{said}")
        return float(found[1])


def rows(directory: Path) -> Iterator[Row]:
    """Yield MB/s of each server and the two ratios; without nginx, only those of Caddy; without wrk, nothing."""
    try:
        wrk = _wrk(directory)
    except NoPackageError as error:
        print(f"files: left out, no wrk ({error})")
        return
    with Stack(directory / "data") as stack:
        servers = _start(stack, directory)
        for url in servers.values():
            _check(url)
        for clients in CLIENTS:
            rates: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, url in servers.items():
                    rates[name].append(wrk.requests_per_s(url, clients))
            yield from _compared({name: statistics.median(rate) for name, rate in rates.items()}, clients)


def _compared(rate: Mapping[str, float], clients: int) -> Iterator[Row]:
    for name, value in rate.items():
        yield Row(f"1 MiB ranges, {clients} clients: {name}", value * RANGE / 1e6, "MB/s")
    ratios = (("python", "nginx", PYTHON_GOAL), ("handed off", "Caddy's file server", HANDOFF_GOAL))
    for ours, peer, goal in ratios:
        if peer in rate:
            yield Row(f"1 MiB ranges, {clients} clients: {ours}", rate[ours] / rate[peer], "x", peer, goal)


def _wrk(directory: Path) -> Wrk:
    script = directory / "ranges.lua"
    script.write_text(RANDOM_RANGES.format(last=(FILM_MIB << 20) - RANGE, length=RANGE))
    return Wrk(*program("wrk", ["wrk", "libluajit-5.1-2", "libluajit-5.1-common"]), script)


def _start(stack: Stack, directory: Path) -> dict[str, str]:
    """Start the servers over one film and return where they have it."""
    chosen = ports.choose(["nginx", "library", "caddy", "gateway"], {})
    _write_film(stack.layout.output / "film" / "film.mp4")
    stack.start_broker()
    stack.create_streams()
    library = {
        "DUBLINE_LIBRARY_PORT": str(chosen["library"]),
        "DUBLINE_FILES_HANDOFF": "caddy",
        "DUBLINE_GATEWAY_TOKEN": TOKEN,
    }
    stack.start(*module("services.library"), user="library", environment=library, name="library").wait_ready(
        f"http://{ports.LOOPBACK}:{chosen['library']}/readyz"
    )
    address = {name: f"http://{ports.LOOPBACK}:{port}{PATH}" for name, port in chosen.items()}
    found = {"python": address["library"]}
    try:
        nginx, environment = program("nginx", ["nginx"])
    except NoPackageError as error:
        print(f"files: nginx left out ({error})")
    else:
        user = "user root;" if os.geteuid() == 0 else ""
        values = {"directory": directory, "user": user, "root": stack.layout.output, "port": chosen["nginx"]}
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(**values))
        stack.start(str(nginx), "-p", str(directory), "-c", str(config), environment=environment, name="nginx")
        found["nginx"] = address["nginx"]
    own = directory / "Caddyfile"
    own.write_text(CADDY.format(port=chosen["caddy"], root=stack.layout.output))
    stack.start(*_caddy(own), name="caddy")
    gateway = {
        "DUBLINE_GATEWAY_ADDRESS": f"http://:{chosen['gateway']}",
        "DUBLINE_INGEST_ADDR": f"{ports.LOOPBACK}:{chosen['library']}",
        "DUBLINE_SCHEDULER_ADDR": f"{ports.LOOPBACK}:{chosen['library']}",
        "DUBLINE_LIBRARY_ADDR": f"{ports.LOOPBACK}:{chosen['library']}",
        "DUBLINE_GATEWAY_TOKEN": TOKEN,
        "DUBLINE_FILES_ROOT": str(stack.layout.output),
    }
    stack.start(*_caddy(deploy_dir() / "gateway" / "Caddyfile"), environment=gateway, name="gateway")
    return found | {"Caddy's file server": address["caddy"], "handed off": address["gateway"]}


def _caddy(config: Path) -> tuple[str, ...]:
    return (str(require(GATEWAY)), "run", "--config", str(config), "--adapter", "caddyfile")


def _write_film(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as film:
        for _ in range(FILM_MIB):
            film.write(os.urandom(1 << 20))


def _check(url: str) -> None:
    """Wait for a server, and see that it sends the range that is asked for. Raises RuntimeError, httpx errors."""
    transport = httpx.HTTPTransport(retries=8)
    with httpx.Client(transport=transport, headers=headers(), trust_env=False, timeout=30) as client:
        answer = client.get(url, headers={"Range": f"bytes=5-{RANGE + 4}"})
    if answer.status_code != 206 or len(answer.content) != RANGE:
        raise RuntimeError(f"{url} answers {answer.status_code} with {len(answer.content)} bytes")
