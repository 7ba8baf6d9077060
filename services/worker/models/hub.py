"""Files from a model hub, through its own client.

Lives here: one call. The hub is optional: nothing in the default set needs it to be reachable.
"""

from pathlib import Path

from services.worker.models.manifest import HubSource, Model
from services.worker.models.packs import DownloadError


def download_files(model: Model, source: HubSource, into: Path) -> None:
    """Put every file of the model, unverified, into a directory. Raises DownloadError."""
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 -- optional, and slow to import
    except ImportError as error:
        raise DownloadError("huggingface_hub is not installed") from error
    for file in model.files:
        try:
            hf_hub_download(source.repo, file.name, revision=source.revision, local_dir=into)
        except (OSError, ValueError, RuntimeError) as error:
            # The client's errors are OSErrors (HTTP, offline, no entry), ValueErrors (names) and RuntimeErrors (Xet).
            raise DownloadError(f"hub {source.repo}: {type(error).__name__} for {file.name}") from error
