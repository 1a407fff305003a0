"""A process with all its descendants, and how much memory they hold, for the benchmarks that watch a whole node."""

from pathlib import Path


def process_tree(root_pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    tree = [root_pid]
    for pid in tree:
        tree += children.get(pid, [])
    return tree


def memory_gib(root_pid: int) -> float:
    """Return the proportional set size of a process tree."""
    total_kib = 0
    for pid in process_tree(root_pid):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_kib += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total_kib / 2**20
