"""`dubline encryption-key`: the key of encryption at rest.

Lives here: making a key file. Does not live here: what is encrypted (docs/encryption.md), reading keys
(`shared.sealing.keys`).
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from services.standalone.cli_common import fail, load_settings
from shared.secret_files import KEY_BYTES, new_secret

encryption_key = typer.Typer(no_args_is_help=True, help="The key of encryption at rest.")


@encryption_key.command("create")
def create(
    *,
    file: Annotated[
        Path | None, typer.Option(help="Where; else ARTIFACTS_KEY_FILE, else in the data directory.")
    ] = None,
) -> None:
    """Make a file with a new key that its owner alone can read. One that is there already stays as it is."""
    settings = load_settings()
    path = file or settings.artifacts_key_file or settings.layout.artifacts_key
    try:
        make_key_file(path)
    except FileExistsError:
        fail(f"{path} is there already. Without it nothing that it encrypted can be read; it was not touched.")
    except OSError as error:
        fail(f"{path} could not be made: {error.strerror}.")
    print(f"Made {path}, a key of {8 * KEY_BYTES} bits. Keep a copy elsewhere: without it, encrypted files are lost.")
    if not settings.encrypt_at_rest:
        print("Set ENCRYPT_AT_REST=1 to encrypt what is stored from now on.")
    if file and file.absolute() not in (settings.artifacts_key_file, settings.layout.artifacts_key):
        print(f"Set ARTIFACTS_KEY_FILE={file.absolute()} so that Dubline finds it.")


def make_key_file(path: Path) -> None:
    """Make the file with a new key, 0600. Raises FileExistsError, OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as made:
        made.write(new_secret() + "\n")
        made.flush()
        os.fsync(made.fileno())
