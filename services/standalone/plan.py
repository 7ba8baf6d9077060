"""What `dubline up` starts: every process with its arguments, environment and sign of readiness.

Lives here: the plan, as data. Does not live here: keeping it running (`supervisor`).
"""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from services.standalone import ports
from services.standalone.binaries import BROKER, GATEWAY, require
from services.standalone.broker_config import password_file, write_config
from services.standalone.deployment import deploy_dir
from services.standalone.workers import WorkerSpec, has_cuda, processors, worker_specs
from shared.access.local_key import ensure_local_key
from shared.loopback import is_loopback
from shared.sealing.keys import SealingConfigError, vault_of
from shared.settings import Settings

INTERNAL_PORTS = ("nats", "nats_monitor", "ingest", "library", "scheduler")
"""Chosen free at each start unless DUBLINE_<NAME>_PORT fixes one."""

SEALING_USERS = frozenset({"ingest", "library", "worker"})
"""Who gets the key of encryption at rest, where it is in the environment."""

STOP_GRACE_S = 5.0
WORKER_DRAIN_S = 5.0
"""How long a worker may go on with its stage when the system stops, unless DRAIN_TIMEOUT_SEC says otherwise: a person
waits for it. It then hands the stage back, which is taken up at the next start."""


EVERY_INTERFACE = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- recognised, not chosen


class ConfigurationError(RuntimeError):
    """The environment asks for something that cannot be; the message says what to change."""


@dataclass(frozen=True)
class Service:
    """One process. It is ready when `ready_url` answers 200."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    ready_url: str
    port: int | None = None
    stop_grace_s: float = STOP_GRACE_S
    ready_key: Path | None = None
    """The file of the key to ask with, where `ready_url` is not for everybody."""


@dataclass(frozen=True)
class Plan:
    """The processes in the order of their start, and the one-shot that makes the streams once the broker is there."""

    broker: Service
    init_argv: tuple[str, ...]
    init_environment: Mapping[str, str]
    services: tuple[Service, ...]
    gateway: Service
    url: str
    ports: Mapping[str, int]
    access_mode: str

    @property
    def processes(self) -> tuple[Service, ...]:
        """All that keep running, in the order of their start."""
        return (self.broker, *self.services, self.gateway)


def fixed_ports(environ: Mapping[str, str]) -> dict[str, int]:
    """Return the internal ports that the environment fixes. Raises ConfigurationError, PortInUseError."""
    fixed: dict[str, int] = {}
    for name in INTERNAL_PORTS:
        variable = f"DUBLINE_{name.upper()}_PORT"
        if not (value := environ.get(variable)):
            continue
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise ConfigurationError(f"{variable}={value} is not a port number.")
        ports.require_free(int(value), variable)
        fixed[name] = int(value)
    return fixed


def module(name: str) -> tuple[str, ...]:
    """Return the command of a module of this environment; -P: the current directory must not shadow our packages."""
    return (sys.executable, "-P", "-m", name)


def make_plan(settings: Settings, environ: Mapping[str, str]) -> Plan:
    """Choose ports, write the broker's configuration, and return what to start.

    Raises ConfigurationError, PortInUseError, BinaryUnusableError, OSError.
    """
    if not (is_loopback(settings.host) or settings.allow_non_loopback or settings.remote_access_mode != "off"):
        raise ConfigurationError(
            f"DUBLINE_HOST={settings.host} can be reached from other machines. Say who may come in with "
            "REMOTE_ACCESS_MODE, or set DUBLINE_ALLOW_NON_LOOPBACK=1 to let everybody see the sign-in page."
        )
    layout = settings.layout
    try:
        vault_of(settings)  # named here, before anything is started; each service looks again
    except SealingConfigError as error:
        raise ConfigurationError(str(error)) from None
    broker_binary, gateway_binary = require(BROKER), require(GATEWAY)
    ports.require_free(settings.port, "DUBLINE_PORT")
    try:
        workers = worker_specs(environ, cuda=has_cuda(), processors=processors())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    chosen = ports.choose((*INTERNAL_PORTS, *(spec.name for spec in workers[1:])), fixed_ports(environ))
    address = {name: f"{ports.LOOPBACK}:{port}" for name, port in chosen.items()}
    for directory in (layout.data, layout.broker, layout.logs, layout.output):
        directory.mkdir(parents=True, exist_ok=True)
    config = write_config(layout, listen=address["nats"], monitor=address["nats_monitor"], store=layout.broker)
    common = _common_environment(settings, environ) | {"DUBLINE_NATS_URL": f"nats://{address['nats']}"}
    ensure_local_key(settings.local_key_file)
    # The gateway shows that it is the one by a word of this start: it is believed what it says of a client, and files
    # are handed off to it. Workers and the broker do not learn it.
    common.pop("DUBLINE_GATEWAY_TOKEN", None)
    common.pop("DUBLINE_GATEWAY_TOKEN_FILE", None)
    artifacts_key = {"ARTIFACTS_KEY": key} if (key := common.pop("ARTIFACTS_KEY", "")) else {}
    gateway_word = {"DUBLINE_GATEWAY_TOKEN": secrets.token_urlsafe(24)}
    front = gateway_word | {"DUBLINE_INGEST_URL": f"http://{address['ingest']}"}
    interfaces = gateway_interfaces(settings.host)
    front["DUBLINE_ALLOWED_HOSTS"] = ",".join((*settings.allowed_host_names, *interfaces[1:]))
    for name in ("ingest", "library", "scheduler"):
        common |= {f"DUBLINE_{name.upper()}_HOST": ports.LOOPBACK, f"DUBLINE_{name.upper()}_PORT": str(chosen[name])}

    def as_user(user: str) -> dict[str, str]:
        sealing = artifacts_key if user in SEALING_USERS else {}
        return (
            common
            | sealing
            | {"DUBLINE_NATS_USER": user, "DUBLINE_NATS_PASSWORD_FILE": str(password_file(layout, user))}
        )

    def http_service(name: str, own: Mapping[str, str] = MappingProxyType({})) -> Service:
        ready = f"http://{address[name]}/readyz"
        return Service(name, module(f"services.{name}"), {**as_user(name), **front, **own}, ready, chosen[name])

    def worker_service(spec: WorkerSpec) -> Service:
        """The first has no port: ingest answers for it, and does so only when a worker described itself."""
        port = chosen.get(spec.name)
        own = {"DUBLINE_WORKER_HOST": ports.LOOPBACK, "DUBLINE_WORKER_PORT": str(port)} if port else {}
        return Service(
            spec.name,
            module("services.worker"),
            as_user("worker") | spec.environment | own | {"DRAIN_TIMEOUT_SEC": str(drain_s)},
            f"http://{address[spec.name]}/readyz" if port else f"http://{address['ingest']}/api/languages",
            port,
            stop_grace_s=drain_s + STOP_GRACE_S,
            ready_key=None if port else settings.local_key_file,
        )

    url = f"http://{ports.LOOPBACK}:{settings.port}"
    drain_s = settings.drain_timeout_s if "DRAIN_TIMEOUT_SEC" in environ else WORKER_DRAIN_S
    return Plan(
        broker=Service(
            "nats",
            (str(broker_binary), "-c", str(config)),
            common,
            f"http://{address['nats_monitor']}/healthz",
            chosen["nats"],
        ),
        init_argv=module("shared.eventlog.streams"),
        init_environment=as_user("init"),
        services=(
            http_service("ingest"),
            http_service("library", {"DUBLINE_FILES_HANDOFF": _handoff(environ)}),
            http_service("scheduler"),
            *(worker_service(spec) for spec in workers),
        ),
        gateway=Service(
            "gateway",
            (
                str(gateway_binary),
                "run",
                "--config",
                str(deploy_dir() / "gateway" / "Caddyfile"),
                "--adapter",
                "caddyfile",
            ),
            common
            | {
                "DUBLINE_GATEWAY_ADDRESS": f"http://:{settings.port}",
                "DUBLINE_GATEWAY_BIND": " ".join(interfaces),
                "DUBLINE_INGEST_ADDR": address["ingest"],
                "DUBLINE_LIBRARY_ADDR": address["library"],
                "DUBLINE_SCHEDULER_ADDR": address["scheduler"],
                "DUBLINE_FILES_ROOT": str(layout.output),
                "TRUSTED_PROXY_SUBNETS": settings.trusted_proxy_subnets.replace(",", " "),
                **gateway_word,
                "XDG_DATA_HOME": str(layout.data / "gateway"),
                "XDG_CONFIG_HOME": str(layout.data / "gateway"),
            },
            f"{url}/readyz",
            settings.port,
        ),
        url=url,
        ports={"gateway": settings.port, **chosen},
        access_mode=settings.remote_access_mode,
    )


def gateway_interfaces(host: str) -> tuple[str, ...]:
    """Return where the gateway listens for DUBLINE_HOST: on loopback always, where the commands of this machine ask."""
    if host in EVERY_INTERFACE:
        return (host,)
    return (ports.LOOPBACK,) if is_loopback(host) else (ports.LOOPBACK, host)


def _handoff(environ: Mapping[str, str]) -> str:
    """Return who sends files: the gateway, unless DUBLINE_FILES_HANDOFF=off. Raises ConfigurationError."""
    value = environ.get("DUBLINE_FILES_HANDOFF", "caddy")
    if value not in {"off", "caddy"}:
        raise ConfigurationError(f"DUBLINE_FILES_HANDOFF={value}: off and caddy are known.")
    return value


def _common_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {
        **environ,
        "DUBLINE_DATA_DIR": str(settings.layout.data),
        "DUBLINE_MODELS_DIR": str(settings.models_dir.expanduser().resolve()),
        "PATH": os.pathsep.join((scripts, environ.get("PATH") or os.defpath)),
        "PYTHONUNBUFFERED": "1",
    }
