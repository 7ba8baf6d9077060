"""`python -m services.worker.models.fetch [--verify] [ID…]`: make models available, all of the lock file by default.

Lives here: the command and its progress display. Does not live here: how a model is fetched (`resolver`).
Exit code 0: every model is there and verified; 1: one is not, said on stderr.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from services.worker.models import packs
from services.worker.models.manifest import Lock, NpmTool, Pack, load_lock
from services.worker.models.resolver import ModelError, fetch
from shared.settings import Settings

MEGA = 1e6


def _download(pack: Pack, into: Path, tool: NpmTool, bars: Progress, console: Console) -> Path:
    """Download one pack with a bar on a terminal, else with a line."""
    label = f"{pack.name} {pack.version}"
    if not console.is_terminal:
        console.print(f"  fetching {label} ({pack.size / MEGA:.1f} MB)")
        return packs.download(pack, into, tool, lambda _: None)
    bar = bars.add_task(label, total=pack.size)
    return packs.download(pack, into, tool, lambda done: bars.update(bar, completed=done))


def fetch_models(
    model_ids: Sequence[str], models_dir: Path, console: Console, *, lock: Lock | None = None, rehash: bool = False
) -> list[Path]:
    """Return the verified directories of these models (all of the lock file if none is named).

    Fetches what is missing, with progress on the console. Raises ModelError, OSError, and KeyError for an unknown id.
    """
    lock = lock or load_lock()
    directories = []
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        download: Callable[[Pack, Path], Path] = partial(_download, tool=lock.npm, bars=bars, console=console)
        for model in [lock.model(model_id) for model_id in model_ids] or lock.models:
            started = time.monotonic()
            directories.append(fetch(model.id, models_dir, download, lock=lock, rehash=rehash))
            took = time.monotonic() - started
            console.print(
                f"{model.id}: {model.title}, {model.size / MEGA:.0f} MB, {model.licence}: verified in {took:.1f} s",
                soft_wrap=True,
            )
    return directories


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m services.worker.models.fetch", description=__doc__)
    parser.add_argument("model", nargs="*", help="a model id (default: all)")
    parser.add_argument("--verify", action="store_true", help="hash every file again, even if nothing seems changed")
    options = parser.parse_args(arguments)
    models_dir = Settings().models_dir
    try:
        fetch_models(options.model, models_dir, Console(), rehash=options.verify)
    except (ModelError, OSError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) else str(error)
        Console(stderr=True).print(f"[red]error[/red]: {message}", highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
