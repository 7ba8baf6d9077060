"""What docker-compose.yml promises about every service, read as Compose reads it. No engine is needed."""

import re
from typing import Any

import pytest

from tests.deploy.compose import ROOT, compose, described

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
