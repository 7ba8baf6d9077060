"""Signatures as receivers check them, and the secrets behind them, which are in no event."""

import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from services.library.webhooks import signing
from services.library.webhooks.subscriptions import Subscription
from shared.events.library import WebhookSavedData
from shared.layout import Layout
from shared.webhooks import (
    KEY_BYTES,
    KeyUnusableError,
    derive_secret,
    ensure_key,
    is_message_id,
    is_webhook_id,
    key_file,
    message_id,
    print_secret,
    read_key,
)

HOOK = "hook_0123456789abcdef"
NOW = datetime.now(UTC)
KEY = bytes(range(KEY_BYTES))


def signed(*generations: int, body: bytes = b'{"a":1}') -> dict[str, str]:
    secrets = [derive_secret(KEY, HOOK, generation) for generation in generations]
    return signing.headers("msg_1", int(NOW.timestamp()), body, secrets)


def verifier(generation: int) -> Verifier:
    return Verifier(print_secret(derive_secret(KEY, HOOK, generation)))


def test_the_specifications_own_library_accepts_a_message() -> None:
    assert verifier(1).verify(b'{"a":1}', signed(1)) == {"a": 1}


def test_it_refuses_a_changed_body_id_or_time_and_another_secret() -> None:
    for headers, body in (
        (signed(1), b'{"a":2}'),
        (signed(1) | {"webhook-id": "msg_2"}, b'{"a":1}'),
        (signed(1) | {"webhook-timestamp": str(int(NOW.timestamp()) - 1)}, b'{"a":1}'),
        (signed(2), b'{"a":1}'),
    ):
        with pytest.raises(WebhookVerificationError):
            verifier(1).verify(body, headers)


def test_after_a_rotation_both_secrets_verify_for_a_day() -> None:
    data = WebhookSavedData(owner="local", url="https://a.example", created_at=NOW, generation=2, rotated_at=NOW)
    webhook = Subscription(HOOK, 1, NOW, data)
    assert webhook.generations(NOW + timedelta(hours=23)) == [2, 1]
    headers = signed(*webhook.generations(NOW))
    assert len(headers["webhook-signature"].split(" ")) == 2
    verifier(1).verify(b'{"a":1}', headers)
    verifier(2).verify(b'{"a":1}', headers)
    assert webhook.generations(NOW + timedelta(hours=24)) == [2]


def test_a_second_rotation_ends_the_oldest_secret_at_once() -> None:
    data = WebhookSavedData(owner="local", url="https://a.example", created_at=NOW, generation=3, rotated_at=NOW)
    with pytest.raises(WebhookVerificationError):
        verifier(1).verify(b'{"a":1}', signed(*Subscription(HOOK, 1, NOW, data).generations(NOW)))


def test_secrets_differ_by_key_webhook_and_generation() -> None:
    others = {derive_secret(KEY, HOOK, 1), derive_secret(KEY, HOOK, 11), derive_secret(KEY, "hook_1", 1)}
    assert len(others | {derive_secret(bytes(KEY_BYTES), HOOK, 1)}) == 4
    assert print_secret(derive_secret(KEY, HOOK, 1)).startswith("whsec_")


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_key(layout))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {read_key(layout)}
    assert stat.S_IMODE(key_file(layout).stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700
    assert [path.name for path in layout.secrets.iterdir()] == ["webhooks.key"]


def test_a_key_that_is_missing_or_damaged_is_said_and_never_replaced(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(KeyUnusableError, match="cannot be read"):
        read_key(layout)
    ensure_key(layout)
    key_file(layout).write_bytes(b"short")
    with pytest.raises(KeyUnusableError, match="5 bytes"):
        ensure_key(layout)


def test_ids() -> None:
    made = message_id(HOOK, "event")
    assert is_message_id(made)
    assert made == message_id(HOOK, "event") != message_id(HOOK, "other")
    assert is_webhook_id(HOOK)
    for bad in ("hook_0123456789abcde", "hook_0123456789abcdef\n", "*", ">", "hook_*", ""):
        assert not is_webhook_id(bad)
        assert not is_message_id(bad)
