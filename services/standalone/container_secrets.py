"""The secrets of an installation in containers: all of them made in one place, and each service handed its own.

`python -m services.standalone.container_secrets` is the `secrets` step of docker-compose.yml, at each start. It alone
sees the whole of DUBLINE_DATA_DIR/secrets; what a service needs is copied to HANDED/<service>, a volume that only this
service mounts, as its /data/secrets. Lives here: who gets what, and the copying. Does not live here: making passwords
and the broker's configuration (`broker_config`).
"""

import secrets
from pathlib import Path

from services.standalone.broker_config import config_file, password_file, values_file, write_config
from shared.layout import Layout
from shared.secret_files import write_private
from shared.settings import Settings
from shared.webhooks import key_file

HANDED = Path("/handed")
"""Made by deploy/Dockerfile with the owner that the volumes take over."""

LISTEN = "0.0.0.0:4222"
MONITOR = "0.0.0.0:8222"
STORE = Path("/data/broker")

WORD_BYTES = 32


def belongings(layout: Layout) -> dict[str, tuple[Path, ...]]:
    """Return which files each service of docker-compose.yml gets; some are there only if the operator made them."""
    front = (layout.local_key, layout.gateway_word)
    sealing = (layout.artifacts_key,)
    accounts = (layout.auth_key, layout.oidc_client_secret)
    return {
        "broker": (config_file(layout), values_file(layout)),
        "init": (password_file(layout, "init"),),
        "ingest": (password_file(layout, "ingest"), *front, *sealing, *accounts, key_file(layout)),
        "scheduler": (password_file(layout, "scheduler"), *front),
        "library": (password_file(layout, "library"), *front, *sealing, key_file(layout)),
        "worker": (password_file(layout, "worker"), *sealing),
        "gateway": (layout.gateway_word,),
    }


def hand_out(layout: Layout, handed: Path) -> None:
    """Make what each service has in `handed` what it should have. Raises OSError.

    A file that is right is not written again: services that run read some of them at any time.
    """
    for service, files in belongings(layout).items():
        wanted = {handed / service / file.relative_to(layout.secrets): file for file in files if file.exists()}
        for target, source in wanted.items():
            content = source.read_bytes()
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_private(target, content)
        for left in (handed / service).rglob("*"):
            if left.is_file() and left not in wanted:
                left.unlink()


def main() -> None:
    """Make what is missing, and hand out."""
    layout = Settings().layout
    write_config(layout, listen=LISTEN, monitor=MONITOR, store=STORE)
    if not layout.gateway_word.exists():
        write_private(layout.gateway_word, secrets.token_urlsafe(WORD_BYTES) + "\n")
    hand_out(layout, HANDED)


if __name__ == "__main__":
    main()
