"""The installation's keys of encryption at rest, and whether it is switched on: a missing key stops a service's start.

Lives here: reading ARTIFACTS_KEY, ARTIFACTS_KEY_FILE and ENCRYPT_CLASSES. Does not live here: making a key file
(`services.standalone.cli_keys`).
"""

import sys
from pathlib import Path
from typing import NoReturn, get_args

import structlog

from shared.sealing.classes import CLASSES, SealedClass
from shared.sealing.keyring import Keyring
from shared.sealing.vault import Vault
from shared.secret_files import UnusableSecretError, decode_secret
from shared.settings import Settings

EX_CONFIG = 78
"""sysexits.h: something is wrong in the configuration."""
HOW = "Make a key with `dubline encryption-key create`, or put yours into ARTIFACTS_KEY or ARTIFACTS_KEY_FILE."


class SealingConfigError(RuntimeError):
    """Encryption at rest cannot work as it is configured; the message says what to change, and no key."""


def vault_of(settings: Settings) -> Vault | None:
    """Return what seals and opens files; None where nothing is encrypted and no key is there to open old files.

    Raises SealingConfigError for a missing or unusable key and for an unknown class: there is no plain fallback.
    """
    classes = sealed_classes(settings.encrypt_classes)
    keys = _keyring(settings)
    if keys is None:
        if settings.encrypt_at_rest:
            raise SealingConfigError(f"ENCRYPT_AT_REST=1, but there is no key. {HOW}")
        return None
    layout = settings.layout
    return Vault(keys, classes if settings.encrypt_at_rest else frozenset(), layout.output, settings.plain_dir)


def vault_or_exit(settings: Settings) -> Vault | None:
    """Return what `vault_of` does; end a service that must not start, with one line and code 78."""
    try:
        return vault_of(settings)
    except SealingConfigError as error:
        _refuse_to_start(error)


def _refuse_to_start(error: SealingConfigError) -> NoReturn:
    structlog.get_logger().error("encryption_not_possible", detail=str(error))
    sys.exit(EX_CONFIG)


def sealed_classes(names: str) -> frozenset[SealedClass]:
    """Return the classes of a list with commas. Raises SealingConfigError."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := sorted(wanted.difference(get_args(SealedClass))):
        detail = f"ENCRYPT_CLASSES names {', '.join(unknown)}; the classes are {', '.join(CLASSES)}."
        raise SealingConfigError(detail)
    return frozenset(name for name in CLASSES if name in wanted)


def _keyring(settings: Settings) -> Keyring | None:
    given, file = settings.artifacts_key.get_secret_value(), settings.artifacts_key_file
    if given and file:
        raise SealingConfigError("Both ARTIFACTS_KEY and ARTIFACTS_KEY_FILE are set: keep one of them.")
    if given:
        return _parsed(given, "ARTIFACTS_KEY")
    path = file or settings.layout.artifacts_key
    if file is None and not path.exists():
        return None
    return _parsed(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SealingConfigError(f"The key file {path} cannot be read: {reason}. {HOW}") from error


def _parsed(text: str, name: str) -> Keyring:
    """Return the keys, one on each line; the first seals."""
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    try:
        keys = tuple(decode_secret(line, name) for line in lines)
    except UnusableSecretError as error:
        raise SealingConfigError(f"{error} {HOW}") from error
    if not keys:
        raise SealingConfigError(f"{name} holds no key. {HOW}")
    return Keyring(keys)
