"""What the worker tells its inference child; apart from inference.py, so that the worker itself needs no torch.

Where there is too little memory for one plan, the next one takes less: fewer slices at once, then the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from covnode.errors import OutOfMemory
from covnode.logs import get_logger
from covnode.sections import QualitySettings, WorkerSettings

_CPU = "cpu"
_ON_CPU = (1,)
_ON_CUDA = (20, 4)
"""Slices that R231 gets at once, and how many when those are too many."""

T = TypeVar("T")


@dataclass(frozen=True)
class InferencePlan:
    """What to analyse with, where, and where the answer goes.

    Attributes
    ----------
    installed_models
        The folder of models that the site installed itself.
    out
        Gets the objects, the masks and the record.
    device
        ``cpu`` or ``cuda:N``.
    threads
        CPU threads.
    quality
        Limits of the quality gate.
    economy
        How many steps less at once than the device is meant to hold.
    failed
        What had too little memory before, in words.
    """

    settings: WorkerSettings
    installed_models: Path
    out: Path
    device: str = _CPU
    threads: int = 1
    quality: QualitySettings = field(default_factory=QualitySettings)
    economy: int = 0
    failed: tuple[str, ...] = ()

    @property
    def _batches(self) -> tuple[int, ...]:
        return _ON_CPU if self.device == _CPU else _ON_CUDA

    @property
    def slices_at_once(self) -> int:
        """Slices that a network of slices gets in one go."""
        return self._batches[self.economy]

    def with_less(self) -> "InferencePlan | None":
        """Return the plan that takes less memory; None: there is none."""
        failed = (*self.failed, f"{self.device} (slices at once: {self.slices_at_once})")
        if self.economy + 1 < len(self._batches):
            return replace(self, economy=self.economy + 1, failed=failed)
        if self.device != _CPU:
            return replace(self, device=_CPU, economy=0, failed=failed)
        return None

    @property
    def told(self) -> str:
        """Where it ran, and what had too little memory before."""
        return self.device + "".join(f"; out of memory on {each}" for each in self.failed)


def within_memory(plan: InferencePlan, run: Callable[[InferencePlan], T]) -> T:
    """Run by a plan; where there is too little memory, by the ones that take less.

    Raises
    ------
    OutOfMemory
        None is left.
    """
    while True:
        try:
            return run(plan)
        except OutOfMemory:
            less = plan.with_less()
            if less is None:
                tried = ", ".join((*plan.failed, plan.device))
                raise OutOfMemory(f"there is too little memory for this series on {tried}") from None
            get_logger().warning(
                "out_of_memory",
                device=plan.device,
                slices_at_once=plan.slices_at_once,
                next_device=less.device,
                next_slices_at_once=less.slices_at_once,
            )
            plan = less


def kernel_kills() -> int:
    """Return how many processes the kernel has killed for their memory since it started; 0: it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
