"""Which devices the workers of this host run on: one worker a device, by its place in the list.

Asked by the supervisor, which starts a worker for each, by each worker for its own, and by ``covnode analyse``.
"""

import ctypes
import os
import subprocess
import sys

from covnode.errors import ConfigurationError
from covnode.sections import WorkerSettings

_DRIVER = "libcuda.so.1"
_COUNT = "import torch; print(torch.cuda.device_count())"
_COUNT_S = 300.0


def devices_of(settings: WorkerSettings) -> tuple[str, ...]:
    """Return the devices that the settings name, else every CUDA device, else the CPU.

    Raises
    ------
    ConfigurationError
        There is a CUDA driver, but torch does not say how many devices there are.
    """
    return settings.devices or tuple(f"cuda:{number}" for number in range(_cuda_devices())) or ("cpu",)


def threads_of(settings: WorkerSettings, workers: int) -> int:
    """Return the CPU threads of one of so many workers."""
    return settings.threads or max(1, (os.cpu_count() or 1) // workers)


def _cuda_devices() -> int:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return 0  # without the driver there is nothing to ask torch, which takes seconds to answer
    # In a process of its own: torch is large, and what holds it open holds memory of every device.
    try:
        asked = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, timeout=_COUNT_S, check=True)  # noqa: S603 (our own)
        return int(asked.stdout)
    except (subprocess.SubprocessError, ValueError):
        raise ConfigurationError(
            "torch does not say how many CUDA devices there are: name them in worker.devices, such as ['cuda:0']."
        ) from None
