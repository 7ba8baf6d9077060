"""The broker's configuration and its users' passwords.

Lives here: making passwords once per installation, and the settings file that `deploy/nats/nats.conf` includes.
Does not live here: what each user may do; that is `nats.conf` itself. In containers `container_secrets` does all this.
"""

import secrets
from pathlib import Path

from services.standalone.deployment import deploy_dir
from shared.access.local_key import ensure_local_key
from shared.layout import Layout
from shared.secret_files import ensure_secret, write_private
from shared.webhooks import ensure_key

USERS = ("init", "ingest", "scheduler", "worker", "library", "reader")
"""The users of `nats.conf`. `reader` is for consumers outside Dubline."""

PASSWORD_BYTES = 32


def password_file(layout: Layout, user: str) -> Path:
    """Return where a user's password lies, for `DUBLINE_NATS_PASSWORD_FILE`."""
    return layout.secrets / f"nats-{user}"


def config_file(layout: Layout) -> Path:
    """Return the file that the broker is started with."""
    return layout.secrets / "nats" / "nats.conf"


def values_file(layout: Layout) -> Path:
    """Return the file that it includes: addresses, and every user's password."""
    return config_file(layout).with_name("settings.conf")


def ensure_passwords(layout: Layout) -> dict[str, str]:
    """Return every user's password, making those that do not exist yet (files 0600, directory 0700). Raises OSError.

    The keys of the webhooks' secrets, of this machine and of the accounts are made as well: no service may write here
    where each runs in a container.
    """
    layout.secrets.mkdir(parents=True, exist_ok=True)
    layout.secrets.chmod(0o700)
    passwords = {}
    for user in USERS:
        path = password_file(layout, user)
        if not path.exists():
            write_private(path, secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
        passwords[user] = path.read_text().strip()
    ensure_key(layout)
    ensure_local_key(layout.local_key)
    ensure_secret(layout.auth_key)
    return passwords


def write_config(layout: Layout, *, listen: str, monitor: str, store: Path) -> Path:
    """Write the broker's configuration and return its path; `listen` and `monitor` are host:port.

    Raises OSError, and ValueError for a store path that the configuration's syntax cannot hold.
    """
    values = {"DUBLINE_LISTEN": listen, "DUBLINE_MONITOR": monitor, "DUBLINE_STORE_DIR": str(store)}
    values |= {f"PASSWORD_{user.upper()}": password for user, password in ensure_passwords(layout).items()}
    target = config_file(layout)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(values_file(layout), "".join(f"{k}: {_quoted(v)}\n" for k, v in values.items()))
    write_private(target, (deploy_dir() / "nats" / "nats.conf").read_text())
    return target


def _quoted(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"a path of the broker must not contain control characters: {value!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
