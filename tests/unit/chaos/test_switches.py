"""An armed point fires once, in one process, and says so before it does what it is told to."""

import os
import signal
import subprocess
import sys
import time

import pytest

from covnode.chaos.points import Role
from covnode.chaos.switches import STANDBY, Action, Switches

REACH = """
import pathlib, sys
from covnode.chaos.points import Role
from covnode.chaos.switches import Switches
print("begun", flush=True)
for _ in range(int(sys.argv[2])):
    Switches(pathlib.Path(sys.argv[1])).reached("work.claimed", Role.WORK)
print("went on", flush=True)
"""


@pytest.fixture
def switches(tmp_path):
    return Switches(tmp_path)


@pytest.fixture
def reach(tmp_path):
    """Return a function that starts a process which reaches the point."""
    started = []

    def start(times=1):
        command = [sys.executable, "-c", REACH, str(tmp_path), str(times)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_point_that_is_not_armed_does_nothing(switches, reach):
    process = reach()
    assert process.communicate(timeout=60)[0] == "begun\nwent on\n"
    assert switches.firing("work.claimed") is None


@pytest.mark.parametrize("action", [Action.KILL, Action.LOST])
def test_a_process_is_killed_once_and_the_next_goes_on(action, switches, reach):
    switches.arm("work.claimed", action)
    first = reach()
    assert first.communicate(timeout=60)[0] == "begun\n"
    assert first.returncode == -signal.SIGKILL
    firing = switches.firing("work.claimed")
    assert (firing.pid, firing.action) == (first.pid, action)
    assert firing.at_s <= time.monotonic()
    assert reach().communicate(timeout=60)[0] == "begun\nwent on\n"


def test_after_a_lost_host_the_role_has_another_name(switches, reach, monkeypatch):
    before = switches.host(Role.WORK)
    switches.arm("work.claimed", Action.LOST)
    reach().communicate(timeout=60)
    assert switches.host(Role.WORK) != before
    assert switches.host(Role.SEND) == before
    monkeypatch.setenv(STANDBY, "beside")
    assert switches.host(Role.WORK) == "beside"


def test_of_two_processes_one_is_hit(switches, reach):
    switches.arm("work.claimed", Action.KILL)
    processes = [reach(times=200) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in processes) == [-signal.SIGKILL, 0]


def test_a_frozen_process_goes_on_when_it_is_told_to(switches, reach):
    switches.arm("work.claimed", Action.FREEZE)
    process = reach()
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(switches.firing("work.claimed").pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "begun\nwent on\n"


def test_a_held_process_waits_for_its_release(switches, reach):
    switches.arm("work.claimed", Action.CUT)
    process = reach()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    assert switches.firing("work.claimed").pid == process.pid
    switches.release("work.claimed")
    assert process.communicate(timeout=60)[0] == "begun\nwent on\n"


def test_what_is_taken_back_does_not_fire(switches, reach):
    switches.arm("work.claimed", Action.KILL)
    switches.disarm("work.claimed")
    assert reach().communicate(timeout=60)[0] == "begun\nwent on\n"
