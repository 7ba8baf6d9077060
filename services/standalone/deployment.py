"""Where the deployment files lie (the broker's and the gateway's configuration).

Lives here: one path. The same files serve `dubline up` and containers.
"""

import os
from pathlib import Path


def deploy_dir() -> Path:
    """Return `deploy/`: beside the package in a checkout, else where DUBLINE_DEPLOY_DIR says (the image)."""
    return Path(os.environ.get("DUBLINE_DEPLOY_DIR") or Path(__file__).resolve().parents[2] / "deploy")
