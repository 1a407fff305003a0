"""A log that cannot be written costs its lines and nothing else."""

import subprocess
import sys
from pathlib import Path

WORK = """
from covnode.logs import configure_logs, get_logger
configure_logs("info", "receiver")
for number in range(10_000):
    get_logger().error("disk_full", number=number)
print("worked on", flush=True)
"""


def test_a_full_disk_under_the_log_ends_no_work():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.stdout == "worked on\n"
