"""`dubline demo`: the bundled sample, from English into Portuguese, on whatever machine this is.

Lives here: which video, which languages, and what must be there first. The dub itself is the ordinary one (`dub`).
"""

from pathlib import Path

from rich.console import Console

from services.standalone.dub import dub
from services.standalone.system import System
from services.worker.models.fetch import fetch_models
from services.worker.models.resolver import ModelError
from shared.settings import Settings

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "sense-and-sensibility.mp4"
SOURCE = "en"
TARGET = "pt"


class DemoError(RuntimeError):
    """The demonstration cannot be run; the message says why."""


def prepare_demo(settings: Settings, console: Console) -> None:
    """Fetch the models that are missing. Raises DemoError."""
    if not SAMPLE.is_file():
        raise DemoError(f"{SAMPLE} is missing: the demonstration needs a checkout of the project")
    try:
        fetch_models([], settings.models_dir, console)
    except (ModelError, OSError) as error:
        raise DemoError(str(error)) from error


def run_demo(system: System, console: Console) -> int:
    """Dub the sample and return the exit code."""
    console.print(f"Dubbing {SAMPLE.name} from {SOURCE} into {TARGET} ...", highlight=False)
    return dub(system.url, SAMPLE, target=TARGET, source=SOURCE, output_root=system.output_root, console=console)
