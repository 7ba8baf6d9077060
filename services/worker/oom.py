"""Did the kernel kill a process for want of memory?

Lives here: the count of such kills. A child that died by SIGKILL which nobody here sent ran out of memory if that count
grew while it worked. Where the kernel gives no count the signal alone is taken for it: a stage that is tried again
smaller without need costs less than one that is killed at the same place three times.
"""

from pathlib import Path

ROOT = Path("/")


def kernel_kills(root: Path = ROOT) -> int | None:
    """Return how many processes the kernel has killed so: of this control group, else of this machine."""
    for path, key in (*_group_files(root), (root / "proc/vmstat", "oom_kill")):
        if (count := _count(path, key)) is not None:
            return count
    return None


def _group_files(root: Path) -> list[tuple[Path, str]]:
    """Return where the control group of this process would tell, version 2 and 1."""
    files = []
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        relative = path.strip("/")
        if not controllers:
            files.append((root / "sys/fs/cgroup" / relative / "memory.events", "oom_kill"))
        elif "memory" in controllers.split(","):
            files.append((root / "sys/fs/cgroup/memory" / relative / "memory.oom_control", "oom_kill"))
    return files


def _count(path: Path, key: str) -> int | None:
    try:
        fields = dict(line.split(None, 1) for line in path.read_text().splitlines() if line.strip())
        return int(fields[key])
    except (OSError, KeyError, ValueError):
        return None
