"""What the kernel says of processes that it killed for want of memory."""

from pathlib import Path

from services.worker.oom import kernel_kills


def write(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_the_own_control_group_is_asked_first(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/system/worker\n")
    write(tmp_path, "sys/fs/cgroup/system/worker/memory.events", "low 0\noom 4\noom_kill 3\n")
    write(tmp_path, "proc/vmstat", "oom_kill 9\n")
    assert kernel_kills(tmp_path) == 3


def test_a_control_group_of_version_1_is_understood(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/box\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert kernel_kills(tmp_path) == 2


def test_without_a_group_the_machine_is_asked_and_without_that_nothing_is_known(tmp_path: Path) -> None:
    assert kernel_kills(tmp_path) is None
    write(tmp_path, "proc/vmstat", "nr_free_pages 1\noom_kill 5\n")
    assert kernel_kills(tmp_path) == 5
