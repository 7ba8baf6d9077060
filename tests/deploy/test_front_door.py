"""Who may come in where each service runs in a container: accounts, secrets, and the sandbox, as compose gives them."""

import json

import docker
import httpx
import pytest

from shared.sandbox import landlock
from tests.deploy.compose import PUBLIC_URL, Composition

pytestmark = pytest.mark.timeout(1200)

PASSWORD = "eleven purple tractors"
SESSION = "__Host-dubline"
SPOOFED = {"X-Forwarded-For": "203.0.113.9", "X-Dubline-Gateway": "inside"}
TOKEN_FILE = "/data/output/_state/setup-token"

ASK_INGEST = """
import sys, httpx
answer = httpx.post(
    "http://ingest:8011/internal/credentials",
    json={"digest": "0" * 64}, headers={"Host": "localhost"} | dict(a.split("=") for a in sys.argv[1:]),
)
print(answer.status_code)
"""

OWN_SECRETS = {
    "broker": {"nats/nats.conf", "nats/settings.conf"},
    "ingest": {"nats-ingest", "local-key", "gateway-word", "artifacts-key", "auth-key", "webhooks.key"},
    "scheduler": {"nats-scheduler", "local-key", "gateway-word"},
    "library": {"nats-library", "local-key", "gateway-word", "artifacts-key", "webhooks.key"},
    "worker": {"nats-worker", "artifacts-key"},
    "gateway": {"gateway-word"},
}


def status(composition: Composition, method: str, path: str, **headers: str) -> int:
    return httpx.request(method, composition.url + path, headers=headers, timeout=10).status_code


def signed_in(composition: Composition, path: str, body: dict[str, object]) -> httpx.Response:
    return httpx.post(composition.url + path, json=body, headers=SPOOFED, timeout=30)


def test_nobody_comes_in_without_a_credential(composition: Composition):
    for method, path in (
        ("GET", "/api/jobs"),
        ("GET", "/files/x/x.mp4"),
        ("POST", "/api/jobs"),
        ("GET", "/api/files"),
        ("GET", "/api/runtime/state"),
        ("POST", "/api/runtime/limits"),
    ):
        assert status(composition, method, path) == 401, path


def test_what_services_ask_each_other_is_not_there_from_outside_whatever_word_is_shown(composition: Composition):
    word = composition.read("gateway", "/data/secrets/gateway-word").strip()
    for path in ("/internal/credentials", "/internal", "/metrics"):
        assert status(composition, "POST", path, **{"X-Dubline-Gateway": word}) == 404, path


def test_only_who_has_the_gateways_word_may_ask_whose_a_credential_is(composition: Composition):
    """A worker, which a film may have taken over, is on the same network as ingest and has not got it."""

    def asked(service: str, *headers: str) -> str:
        done = composition.run("exec", "-T", service, "python", "-c", ASK_INGEST, *headers)
        return done.stdout.strip() or done.stderr

    word = composition.read("library", "/data/secrets/gateway-word").strip()
    assert asked("worker") == "403"
    assert asked("worker", "X-Dubline-Gateway=inside") == "403"
    assert asked("library", f"X-Dubline-Gateway={word}") == "200"


def test_each_service_sees_its_own_secrets_and_no_others(composition: Composition):
    for service, expected in OWN_SECRETS.items():
        found = composition.run("exec", "-T", service, "find", "/data/secrets", "-type", "f", "-printf", "%P %m\n")
        assert set(found.stdout.splitlines()) == {f"{name} 600" for name in expected}, service


def test_a_secret_that_the_operator_brings_is_handed_to_its_service_at_the_next_start(composition: Composition):
    write = "umask 077; cat > /data/secrets/oidc-client-secret"
    brought = composition.run("run", "--rm", "-T", "secrets", "sh", "-c", write, given="the provider's\n")
    assert brought.returncode == 0, brought.stderr
    again = composition.run("up", "--detach", "--no-build", "--wait", timeout_s=120)
    assert again.returncode == 0, again.stderr

    assert composition.read("ingest", "/data/secrets/oidc-client-secret") == "the provider's\n"
    for service in OWN_SECRETS.keys() - {"ingest"}:
        seen = composition.run("exec", "-T", service, "test", "-e", "/data/secrets/oidc-client-secret")
        assert seen.returncode == 1, service


def test_the_first_admin_is_made_with_a_token_that_is_in_no_log(composition: Composition):
    token = composition.read("ingest", TOKEN_FILE).strip()
    logs = composition.run("logs", "--no-color", "ingest").stdout
    assert TOKEN_FILE in logs
    assert token not in logs

    body: dict[str, object] = {"token": token, "username": "ann", "password": PASSWORD}
    assert signed_in(composition, "/api/setup", body).status_code == 201
    assert signed_in(composition, "/api/setup", body).status_code == 410
    assert composition.run("exec", "-T", "ingest", "test", "-e", TOKEN_FILE).returncode == 1


def test_an_admin_made_in_the_container_signs_in_through_the_gateway(
    composition: Composition, engine: docker.DockerClient
):
    """The session's cookie is for encrypted ways and loopback: browsers count http://127.0.0.1 among these."""
    made = composition.run(
        "exec", "-T", "ingest", "dubline", "admin", "create", "bea", "--password-stdin", given=f"{PASSWORD}\n"
    )
    assert made.returncode == 0, made.stderr

    body: dict[str, object] = {"username": "bea", "password": PASSWORD, "session": True}
    answer = signed_in(composition, "/auth/login", body)
    assert answer.status_code == 200, answer.text
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert cookie.startswith(f"{SESSION}=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(attributes)

    for path in ("/api/auth/me", "/api/jobs", "/api/runtime/state"):
        assert status(composition, "GET", path, Cookie=cookie) == 200, path
    assert status(composition, "POST", "/api/auth/logout", Cookie=cookie) == 403, "without X-CSRF-Token"

    # What the client said of its address was thrown away: the engine's own bridge is what the gateway sees of it.
    [device] = httpx.get(f"{composition.url}/auth/sessions", headers={"Cookie": cookie}, timeout=10).json()["items"]
    bridge = engine.networks.get(f"{composition.name}_outside").attrs["IPAM"]["Config"][0]
    assert device["created_ip"] == bridge["Gateway"]


def test_the_public_name_is_served_and_no_other(composition: Composition):
    served = PUBLIC_URL.removeprefix("https://")
    for name, expected in ((served, 200), (f"127.0.0.1:{composition.port}", 200), ("rebound.example", 403)):
        for path in ("/api/jobs", "/api/languages", "/api/runtime/state"):
            assert status(composition, "GET", path, Host=name, **composition.as_operator) == expected, (name, path)


def test_the_command_line_works_beside_the_gateway_with_a_key_of_the_operators(composition: Composition):
    key = f"DUBLINE_API_KEY={composition.as_operator['X-Api-Key']}"
    done = composition.run("exec", "-T", "-e", key, "gateway", "dubline", "runtime", "state", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_doctor_says_which_sandbox_films_are_opened_in(composition: Composition):
    """Not root, no capability, no new privileges, read-only."""
    if landlock.version() == 0:
        pytest.skip("this machine's kernel has no Landlock")
    told = json.loads(composition.run("exec", "-T", "worker", "dubline", "doctor", "--json").stdout)
    [found] = [finding for finding in told["findings"] if finding["name"] == "media sandbox"]
    assert found["ok"], found
    assert "Landlock" in found["detail"], found

    for service in ("ingest", "worker"):  # what they hold their own children to
        logs = composition.run("logs", "--no-color", "--no-log-prefix", service).stdout.splitlines()
        said = [json.loads(line) for line in logs if "media_sandbox" in line]
        assert {line["variant"] for line in said} == {"landlock"}, service
