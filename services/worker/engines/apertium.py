"""Rule-based translation by apertium, a separate process (GPL) that the system or a private prefix provides.

Lives here: finding installed pairs, one process per batch, and reading its marks. Does not live here: installing it
(`apt-get install`, or `scripts/apertium-unprivileged`).

The stream format of apertium is text in which `[...]` is passed through untranslated (a superblank). Each segment is
followed by one that carries its number, so that the answer can be taken apart, and counted, without guessing. An
artificial full stop before it keeps the rules from working across segments, as apertium's own deformatter does.
"""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from services.worker.engines.protocols import EngineError, EngineOptions, MtText
from services.worker.engines.routes import RULES_COST, RULES_RELATED_COST
from shared.artifacts import sha256_file

PREFIX_VARIABLE = "DUBLINE_APERTIUM_PREFIX"
SYSTEM_ROOT = Path("/")
DATA = Path("usr/share/apertium")
TIMEOUT_S = 120.0
"""Per batch; a whole film takes seconds, so that more means a hang."""

ISO_639_1: Mapping[str, str] = {
    "afr": "af", "ara": "ar", "arg": "an", "bel": "be", "bre": "br", "bul": "bg", "cat": "ca", "cym": "cy",
    "dan": "da", "deu": "de", "eng": "en", "epo": "eo", "eus": "eu", "fra": "fr", "gle": "ga", "glg": "gl",
    "hbs": "sh", "hin": "hi", "ind": "id", "isl": "is", "ita": "it", "kaz": "kk", "mkd": "mk", "mlt": "mt",
    "msa": "ms", "nld": "nl", "nno": "nn", "nob": "nb", "oci": "oc", "pol": "pl", "por": "pt", "ron": "ro",
    "rus": "ru", "slv": "sl", "sme": "se", "spa": "es", "srd": "sc", "swe": "sv", "tat": "tt", "tur": "tr",
    "ukr": "uk", "urd": "ur",
}  # fmt: skip
"""ISO 639-3, which newer pairs are named by -> BCP 47. Of languages that apertium has released pairs for."""

RELATED = (
    frozenset({"an", "ca", "es", "fr", "gl", "it", "oc", "pt", "ro", "sc"}),
    frozenset({"da", "nb", "nn", "sv"}),
    frozenset({"be", "ru", "uk"}),
    frozenset({"bg", "mk", "sh", "sl"}),
)
"""Close relatives, between which shallow transfer does well."""

_VERSION = re.compile(r'^apertium_version="\w+ ([\d.]+)"', re.MULTILINE)
_MODE = re.compile(r"([a-z]{2,3})-([a-z]{2,3})((?:_\w+)?)\.mode")
_MARK = re.compile(r"([*@])(\w[\w'\u2019-]*)")
_MARKS = re.compile(r"[*@#]")
_BOUNDARY = re.compile(r"\.?\[\]\[<(\d+)>\n\]")
_RESERVED = {ord(c): ord(c) + 0xFEE0 for c in "[]{}^$/\\<>@*#~|+"}
"""Characters with a meaning in the stream go through as their full-width twins (U+FF00 block), which have none."""
_RESTORED = {wide: plain for plain, wide in _RESERVED.items()}


@dataclass(frozen=True)
class Installation:
    """Where one apertium lies: `/`, or a prefix with the same tree below it."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / DATA

    @property
    def program(self) -> Path:
        return self.root / "usr" / "bin" / "apertium"

    def usable(self) -> bool:
        """Return whether the program and at least one pair are there."""
        return os.access(self.program, os.X_OK) and bool(self.modes)

    def version(self) -> str:
        """Return the version that the program (a shell script) states, without running it."""
        stated = _VERSION.search(self.program.read_text(errors="replace"))
        return stated.group(1) if stated else "unknown"

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the process: nothing of ours but where programs and libraries lie."""
        binaries = str(self.program.parent)
        libraries = sorted(str(folder.parent) for folder in (self.root / "usr/lib").glob("*/liblttoolbox*.so.?"))
        private = {} if self.root == SYSTEM_ROOT else {"LD_LIBRARY_PATH": ":".join(dict.fromkeys(libraries))}
        path = f"{binaries}:/usr/local/bin:/usr/bin:/bin"
        return {"PATH": path, "APERTIUM_PATH": binaries, "LC_ALL": "C.UTF-8", **private}

    @cached_property
    def modes(self) -> dict[tuple[str, str], str]:
        """The mode for each pair; a regional variant (`es-pt_BR`) only where there is no plain one."""
        found: dict[tuple[str, str], str] = {}
        for file in sorted((self.data / "modes").glob("*.mode"), key=lambda file: ("_" in file.stem, file.name)):
            if name := _MODE.fullmatch(file.name):
                source, target = (ISO_639_1.get(code, code) for code in name.group(1, 2))
                if len(source) == len(target) == 2 and source != target:
                    found.setdefault((source, target), file.stem)
        return found


class Apertium:
    """The MT engine `apertium`. Implements `MtEngine`. Pairs are whatever is installed when the worker starts."""

    kind = "mt"
    name = "apertium"
    preference = 50

    def __init__(
        self,
        options: EngineOptions,
        roots: tuple[Path, ...] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        roots = roots if roots is not None else (SYSTEM_ROOT, private_prefix(options))
        found = (installation for root in roots if (installation := Installation(root)).usable())
        self._installation = next(found, None)
        self._timeout_s = timeout_s
        self.version = self._installation.version() if self._installation else ""

    def available(self) -> str | None:
        """Return None, or how to get it: with root, and without."""
        if self._installation is not None:
            return None
        return (
            "apertium with language pairs is not installed: apt-get install apertium apertium-es-pt apertium-eng-spa,"
            " or without root scripts/apertium-unprivileged (Debian), or set " + PREFIX_VARIABLE
        )

    def device(self) -> str:
        """It has no GPU code."""
        return "cpu"

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        if self._installation is not None:
            digest.update(f"{self.version}\n".encode())
            for mode in sorted(self._installation.modes.values()):
                digest.update(f"{mode}\n".encode())
            for file in sorted(self._installation.data.glob("apertium-*/*.bin")):
                digest.update(f"{file.name} {sha256_file(file)}\n".encode())
        return digest.hexdigest()

    def digest(self) -> str:
        """Return a digest over the compiled dictionaries and rules of all installed pairs (about 20 MB, read once)."""
        return self._digest

    def pairs(self) -> frozenset[tuple[str, str]]:
        """Return the installed pairs."""
        return frozenset(self._installation.modes) if self._installation else frozenset()

    def cost(self, source: str, target: str) -> float:
        """Return the quality cost of a step (`routes`): low between close relatives."""
        related = any(source in family and target in family for family in RELATED)
        return RULES_RELATED_COST if related else RULES_COST

    def memory(self) -> int:
        """Return 0: nothing is kept."""
        return 0

    def load(self) -> None:
        """Do nothing: each batch is a process of its own (0.2 s). Raises EngineError if it is not installed."""
        if reason := self.available():
            raise EngineError(reason)

    def loaded(self) -> bool:
        """Never: nothing is kept."""
        return False

    def unload(self) -> None:
        """Do nothing: nothing is kept."""

    def translate(self, texts: list[str], source: str, target: str) -> list[MtText]:
        """Return one translation per text; unknown words stay and are listed.

        If the answer to a batch cannot be taken apart, its texts are translated one by one. Raises EngineError for a
        pair that is not installed, and for a process that fails or takes longer than `TIMEOUT_S`.
        """
        self.load()
        assert self._installation is not None
        mode = self._installation.modes.get((source, target))
        if mode is None:
            raise EngineError(f"apertium has no pair from {source} to {target}")
        if not texts:
            return []
        parts = split_stream(self._run(mode, join_stream(texts)), len(texts))
        if parts is None and len(texts) > 1:
            return [self.translate([text], source, target)[0] for text in texts]
        if parts is None:
            raise EngineError(f"apertium {mode}: the answer has lost the end of its segment")
        return [read_marks(part) for part in parts]

    def _run(self, mode: str, stream: str) -> str:
        assert self._installation is not None
        argv = [str(self._installation.program), "-d", str(self._installation.data), "-f", "none", mode]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # may quote the text
            env=self._installation.environment(),
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(stream.encode(), self._timeout_s)
            except subprocess.TimeoutExpired:
                # the pipeline's members hold the pipes open: all of them must go, not only the shell
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise EngineError(f"apertium {mode} gave no answer in {self._timeout_s:g} s") from None
        if process.returncode:
            raise EngineError(f"apertium {mode} failed with exit status {process.returncode}")
        return output.decode(errors="replace")


def private_prefix(options: EngineOptions) -> Path:
    """Return where `scripts/apertium-unprivileged` puts it: beside the models, as these are in the user's cache."""
    return Path(os.environ.get(PREFIX_VARIABLE) or options.models_dir.parent / "apertium")


def join_stream(texts: list[str]) -> str:
    """Return the texts as one stream in apertium's format, each followed by its number."""
    plain = (" ".join(text.translate(_RESERVED).split()) for text in texts)
    return "".join(f"{text}.[][<{index}>\n]" for index, text in enumerate(plain))


def split_stream(stream: str, count: int) -> list[str] | None:
    """Return the parts of a translated stream, or None if they are not `count` parts in their order."""
    pieces = _BOUNDARY.split(stream)
    parts, numbers, rest = pieces[:-1:2], pieces[1::2], pieces[-1]
    intact = numbers == [str(index) for index in range(count)] and not rest.strip()
    return parts if intact else None


def read_marks(part: str) -> MtText:
    """Return a translated part without its marks, and the words marked as unknown.

    `*` marks a word that no dictionary has, `@` one without a translation, `#` one that could not be inflected.
    """
    unknown = tuple(word for _, word in _MARK.findall(part))
    return MtText(" ".join(_MARKS.sub("", part).translate(_RESTORED).split()), unknown)
