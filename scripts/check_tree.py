#!/usr/bin/env python3
"""The house rules that no other tool checks, over the tracked files (before the first commit: over all that would be).

Module length; broad `except` clauses without a re-raise or a reason; names of registry hosts and of places on
somebody's machine. Prints `file:line: what` for each breach and exits 1 if there is one.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400
BROAD = frozenset({"Exception", "BaseException"})

# Written in pieces, so that this file does not name them either.
HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("proxy", "golang", "org"),
    )
)
PLACES = tuple(
    "/".join(("", *parts, "")) for parts in (("work",), ("tmp", "bash_jobs"), ("opt", "pypi"), ("home", "user"))
)
FORBIDDEN = re.compile(
    "|".join([rf"\b{re.escape(host)}\b" for host in HOSTS] + [rf"(?<![\w.*}}]){re.escape(p)}" for p in PLACES])
)


def tree() -> list[Path]:
    """Return the files that are tracked or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    files = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [file for file in files if file.is_file()]


def forbidden_names(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every host and place that must not be named."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in FORBIDDEN.finditer(line):
            yield number, f"names {found[0]}"


def broad_excepts(source: str) -> Iterator[tuple[int, str]]:
    """Yield every clause that catches everything, does not re-raise, and gives no reason in a comment on its line."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler) or not is_broad(node.type):
            continue
        raises = any(isinstance(inner, ast.Raise) for statement in node.body for inner in ast.walk(statement))
        reason = (
            re.sub(r"#\s*(noqa|type):?\s*[\w\[\], -]*?(--|$)", "#", lines[node.lineno - 1]).partition("#")[2].strip()
        )
        if not raises and not reason:
            yield node.lineno, "catches everything without a re-raise or a reason"


def is_broad(caught: ast.expr | None) -> bool:
    """Return whether an except clause's type is everything."""
    if isinstance(caught, ast.Tuple):
        return any(is_broad(each) for each in caught.elts)
    return caught is None or (isinstance(caught, ast.Name) and caught.id in BROAD)


def breaches(name: str, data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the line and the words of every breach in one file."""
    if b"\0" in data:
        return
    text = data.decode(errors="replace")
    yield from forbidden_names(text)
    if name.endswith(".py"):
        if (count := len(text.splitlines())) > MAX_LINES:
            yield count, f"has {count} lines; {MAX_LINES} are allowed"
        yield from broad_excepts(text)


def main() -> int:
    """Check the tree."""
    found = 0
    for file in tree():
        name = file.relative_to(ROOT).as_posix()
        for line, what in breaches(name, file.read_bytes()):
            print(f"{name}:{line}: {what}")
            found += 1
    print(f"check_tree: {found} found" if found else "check_tree: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
