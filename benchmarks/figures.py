"""How benchmarks tell their figures: the machine, medians with their spread, and each ratio beside its goal."""

import os
import platform
import statistics
from pathlib import Path


def spread(values: list[float], digits: int) -> str:
    """Return median and spread as text."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def reaches(name: str, ratios: list[float], at_least: float) -> tuple[bool, str]:
    """Print a ratio round by round; return whether its median reaches the goal, and the line that ends the report."""
    ratio = statistics.median(ratios)
    print(f"ratio {name}, round by round: {spread(ratios, 2)}")
    return ratio >= at_least, f"{name}: {ratio:.2f} x (goal >= {at_least:g})"


def machine(software: str) -> str:
    """Describe the machine, and the software beside Python that the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    return (
        f"machine: {os.cpu_count()} cores, {model}, {platform.machine()}, Python {platform.python_version()}, "
        f"{software}, load {os.getloadavg()[0]:.1f} before the first run"
    )
