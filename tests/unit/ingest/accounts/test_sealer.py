"""Sealed fields open for their purpose and their user, under their key, unchanged; for nothing else."""

import base64

import pytest

from services.ingest.accounts.sealer import SealedFieldError, Sealer

KEY, OTHER_KEY = bytes(32), bytes([1] * 32)


def test_a_sealed_field_opens_again_and_does_not_show_its_text() -> None:
    sealer = Sealer(KEY, "totp")
    sealed = sealer.seal("JBSWY3DPEHPK3PXP", "totp", "u_1")
    assert sealer.open(sealed, "totp", "u_1") == "JBSWY3DPEHPK3PXP"
    version, kid, body = sealed.split(":")
    assert (version, kid) == ("v1", sealer.kid)
    assert b"JBSWY3DPEHPK3PXP" not in base64.b64decode(body)


def test_the_same_text_is_sealed_differently_each_time() -> None:
    sealer = Sealer(KEY, "totp")
    assert sealer.seal("x", "totp", "u_1") != sealer.seal("x", "totp", "u_1")


@pytest.mark.parametrize(("purpose", "user"), [("totp", "u_2"), ("other", "u_1"), ("tot", "pu_1")])
def test_a_field_moved_to_another_user_or_purpose_does_not_open(purpose: str, user: str) -> None:
    sealed = Sealer(KEY, "totp").seal("secret", "totp", "u_1")
    with pytest.raises(SealedFieldError, match="changed, or moved"):
        Sealer(KEY, "totp").open(sealed, purpose, user)


@pytest.mark.parametrize("at", range(0, 30, 3))
def test_any_changed_byte_is_noticed(at: int) -> None:
    sealer = Sealer(KEY, "totp")
    head, _, body = sealer.seal("secret", "totp", "u_1").rpartition(":")
    raw = bytearray(base64.b64decode(body))
    raw[at] ^= 1
    with pytest.raises(SealedFieldError, match="changed, or moved"):
        sealer.open(f"{head}:{base64.b64encode(raw).decode()}", "totp", "u_1")


def test_another_key_is_told_from_tampering() -> None:
    sealed = Sealer(KEY, "totp").seal("secret", "totp", "u_1")
    with pytest.raises(SealedFieldError, match="sealed under key"):
        Sealer(OTHER_KEY, "totp").open(sealed, "totp", "u_1")


def test_two_purposes_of_one_secret_have_two_keys() -> None:
    sealed = Sealer(KEY, "totp").seal("secret", "totp", "u_1")
    with pytest.raises(SealedFieldError):
        Sealer(KEY, "other").open(sealed, "totp", "u_1")


@pytest.mark.parametrize("broken", ["", "v2:aa:bb", "v1", "v1:{kid}", "v1:{kid}:", "v1:{kid}:AAAA", "v1:{kid}:%%%"])
def test_what_is_no_sealed_field_is_an_error_and_not_a_crash(broken: str) -> None:
    sealer = Sealer(KEY, "totp")
    with pytest.raises(SealedFieldError):
        sealer.open(broken.format(kid=sealer.kid), "totp", "u_1")
