"""What docker-compose.yml promises about every service, read as Compose reads it. No engine is needed."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.ingest.settings import IngestSettings
from services.library.settings import LibrarySettings
from services.scheduler.settings import SchedulerSettings
from services.standalone.container_secrets import HANDED, belongings
from services.worker.settings import WorkerSettings
from shared.layout import Layout
from tests.deploy.compose import OUTSIDE, ROOT, compose, described

ONCE = {"secrets", "init", "models"}
"""Services that do their work and end."""

PINNED = re.compile(r"^([A-Za-z0-9_.-]+==[^ ;\\]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = described()["services"]
    return found


def test_the_file_is_valid():
    done = compose("config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_the_whole_system(services: dict[str, dict[str, Any]]):
    assert set(services) == ONCE | {"broker", "ingest", "scheduler", "worker", "library", "gateway"}


def test_every_service_is_confined(services: dict[str, dict[str, Any]]):
    for name, service in services.items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert int(service["mem_limit"]) > 0, name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert "privileged" not in service, name


def test_every_service_that_stays_has_a_healthcheck_and_restarts(services: dict[str, dict[str, Any]]):
    for name in services.keys() - ONCE:
        assert services[name]["healthcheck"]["test"][0] == "CMD", name
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["stop_grace_period"], name


def test_only_the_gateway_is_published_and_only_on_loopback(services: dict[str, dict[str, Any]]):
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(published) == {"gateway"}
    assert [port["host_ip"] for port in published["gateway"]] == ["127.0.0.1"]


def test_only_gateway_library_for_webhooks_and_model_fetcher_have_a_way_out(services: dict[str, dict[str, Any]]):
    assert described()["networks"]["inside"]["internal"] is True
    outside = {name for name, service in services.items() if set(service["networks"]) != {"inside"}}
    assert outside == {"gateway", "library", "models"}


def test_passwords_and_models_are_written_only_by_those_who_make_them(services: dict[str, dict[str, Any]]):
    writers: dict[str, set[str]] = {"/data/secrets": set(), "/models": set(), "/data/broker": set()}
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["target"] in writers and not volume.get("read_only"):
                writers[volume["target"]].add(name)
    assert writers == {"/data/secrets": {"secrets"}, "/models": {"models"}, "/data/broker": {"broker"}}


def test_each_service_mounts_its_own_secrets_and_nobody_elses(services: dict[str, dict[str, Any]]):
    """What a service shows the others, a service that was taken over must not find."""
    mounted = {
        name: [v["source"] for v in service.get("volumes", []) if v["target"] == "/data/secrets"]
        for name, service in services.items()
    }
    own = {name: [f"secrets-{name}"] for name in belongings(Layout(Path("/data")))}
    assert mounted == own | {"secrets": ["secrets"], "models": []}

    handed = {v["target"] for v in services["secrets"]["volumes"]} - {"/data/secrets"}
    assert handed == {str(HANDED / name) for name in own}
    for directory in handed:  # a volume takes its owner from there
        assert f" {directory} " in (ROOT / "deploy" / "Dockerfile").read_text(), directory


def test_no_secret_is_in_the_file_or_in_an_environment(services: dict[str, dict[str, Any]]):
    """`docker inspect` shows environments."""
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            if any(word in variable for word in ("TOKEN", "PASSWORD", "SECRET", "_KEY")):
                assert value.strip("{}").removeprefix("file.").startswith("/data/secrets/"), (name, variable)


def test_what_stands_before_the_routes_is_the_same_in_every_service_that_the_gateway_sends_to():
    chosen = {
        "PUBLIC_BASE_URL": "https://dubbing.example",
        "COOKIE_SECURE": "0",
        "REMOTE_ACCESS_MODE": "cloudflare",
        "ALLOWED_SUBNETS": "10.0.0.0/8",
        "TRUSTED_PROXY_SUBNETS": "172.18.0.0/16",
        "CLOUDFLARE_ACCESS_TEAM_DOMAIN": "team.cloudflareaccess.com",
        "CLOUDFLARE_ACCESS_AUD": "audience",
    }
    fixed = {"DUBLINE_GATEWAY_TOKEN_FILE": "/data/secrets/gateway-word", "DUBLINE_INGEST_URL": "http://ingest:8011"}
    services = described(**chosen)["services"]
    for name in ("ingest", "library", "scheduler"):
        assert chosen.items() | fixed.items() <= services[name]["environment"].items(), name
    assert services["gateway"]["environment"]["TRUSTED_PROXY_SUBNETS"] == chosen["TRUSTED_PROXY_SUBNETS"]


def test_every_variable_that_is_passed_on_is_one_that_the_service_reads(services: dict[str, dict[str, Any]]):
    """A name that is written wrongly would be ignored without a word."""
    elsewhere = {"DUBLINE_SANDBOX", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    described_by = {
        "ingest": IngestSettings,
        "library": LibrarySettings,
        "scheduler": SchedulerSettings,
        "worker": WorkerSettings,
    }
    with_outside = described(compose_files=(OUTSIDE,))["services"]
    for name, settings in described_by.items():
        read = {f"DUBLINE_{field.upper()}" for field in settings.model_fields}
        read |= {str(field.validation_alias) for field in settings.model_fields.values() if field.validation_alias}
        assert with_outside[name]["environment"].keys() - read - elsewhere == set(), name


def test_what_is_not_set_has_the_services_own_default(monkeypatch: pytest.MonkeyPatch):
    """Compose passes variables on that are empty."""
    environment = described()["services"]["ingest"]["environment"]
    assert environment["MAX_UPLOAD_MB"] == environment["COOKIE_SECURE"] == ""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    set_here, default = IngestSettings(), IngestSettings.model_fields
    for field in ("max_upload_mb", "cookie_secure", "remote_access_mode", "encrypt_classes", "upload_chunk_bytes"):
        assert getattr(set_here, field) == default[field].default, field


def test_the_second_file_lets_services_out_that_ask_other_services_who_somebody_is():
    services = described(compose_files=(OUTSIDE,), OIDC_ISSUER="https://id.example")["services"]
    outside = {name for name, service in services.items() if set(service["networks"]) != {"inside"}}
    assert outside == {"gateway", "library", "models", "ingest", "scheduler"}
    assert services["ingest"]["environment"]["OIDC_ISSUER"] == "https://id.example"
    assert "OIDC_ISSUER" not in services["scheduler"]["environment"]


def test_settings_of_the_user_are_applied():
    project = described(DUBLINE_PORT="9123", DUBLINE_MODELS_DIR="/srv/models", DUBLINE_IMAGE="elsewhere:1")
    assert project["services"]["gateway"]["ports"][0]["published"] == "9123"
    assert {service["image"] for service in project["services"].values()} == {"elsewhere:1"}
    mounted = [volume for volume in project["services"]["worker"]["volumes"] if volume["target"] == "/models"]
    assert [(volume["type"], volume["source"]) for volume in mounted] == [("bind", "/srv/models")]


def test_the_image_installs_what_was_tested():
    """Whatever the image pins, the lock file that the tests run on pins too."""
    tested = set(PINNED.findall((ROOT / "requirements.lock").read_text()))
    for lock in ("requirements-runtime.lock", "deploy/requirements-build.txt"):
        assert set(PINNED.findall((ROOT / lock).read_text())) <= tested, lock
