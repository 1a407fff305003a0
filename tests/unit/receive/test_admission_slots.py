"""The places of associations are shared by processes and threads, and come back from a process that is killed."""

import fcntl
import subprocess
import sys
import threading
import time

import pytest

from covnode.receive.slots import AssociationSlots

# Takes a place for each title it reads, says whether it got one, and holds it until it ends.
DOOR = """
import sys
from pathlib import Path
from covnode.receive.slots import AssociationSlots
slots = AssociationSlots(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
held = []
for line in sys.stdin:
    held.append(slots.take(line.strip()))
    print("in" if held[-1] else "out", flush=True)
"""


class Door:
    def __init__(self, folder, limit, per_peer):
        command = [sys.executable, "-c", DOOR, str(folder), str(limit), str(per_peer)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take(self, title):
        self.process.stdin.write(f"{title}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() == "in"

    def kill(self):
        self.process.kill()  # SIGKILL
        self.process.wait()


@pytest.fixture
def open_doors(tmp_path):
    doors = []

    def start(count, limit, per_peer):
        doors.extend(Door(tmp_path / "slots", limit, per_peer) for _ in range(count))
        return doors

    yield start
    for door in doors:
        door.kill()
        door.process.stdin.close()
        door.process.stdout.close()


def test_the_limits_hold_over_processes_and_a_killed_one_gives_its_places_back(open_doors, tmp_path):
    first, second, third = open_doors(3, limit=5, per_peer=3)
    assert [first.take("CT1"), second.take("CT1"), third.take("CT1")] == [True, True, True]
    assert not any(door.take("CT1") for door in (first, second, third))
    assert first.take("CT2")
    assert second.take("CT3")
    assert not third.take("CT4")
    slots = AssociationSlots(tmp_path / "slots", 5, 3)
    assert slots.in_use() == 5
    first.kill()
    assert slots.in_use() == 3
    assert third.take("CT1")
    assert second.take("CT4")
    assert not third.take("CT5")


def test_the_limits_hold_over_threads_of_one_process(tmp_path):
    slots = AssociationSlots(tmp_path / "slots", 6, 4)
    got = []
    start = threading.Barrier(20)

    def associate(title):
        start.wait()
        got.append((title, slots.take(title)))

    threads = [threading.Thread(target=associate, args=(f"CT{number % 2}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admitted = [title for title, slot in got if slot is not None]
    assert len(admitted) == slots.in_use() == 6
    assert 2 <= admitted.count("CT0") <= 4


def test_a_place_that_is_given_back_twice_is_free_once(tmp_path):
    slots = AssociationSlots(tmp_path / "slots", 2, 2)
    first, second = slots.take("CT1"), slots.take("CT1")
    first.release()
    third = slots.take("CT1")
    first.release()
    assert slots.in_use() == 2
    assert slots.take("CT1") is None
    second.release()
    third.release()
    assert slots.in_use() == 0


def test_looking_at_the_places_hides_none_from_who_takes_one(tmp_path):
    slots = AssociationSlots(tmp_path / "slots", 1, 1)
    stop = threading.Event()

    def look():
        while not stop.is_set():
            slots.in_use()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            slot = slots.take("CT1")
            assert slot is not None
            slot.release()
    finally:
        stop.set()
        looking.join()


def test_a_process_that_was_stopped_with_the_guard_blocks_nobody_for_long(tmp_path):
    slots = AssociationSlots(tmp_path / "slots", 2, 2)
    with (tmp_path / "slots" / "guard").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        begin_s = time.perf_counter()
        with pytest.raises(OSError, match="does not go on"):
            slots.take("CT1")
        assert 0.9 < time.perf_counter() - begin_s < 5
        with pytest.raises(OSError, match="does not go on"):
            slots.in_use()
    assert slots.take("CT1") is not None


def test_a_title_names_no_file(tmp_path):
    slots = AssociationSlots(tmp_path / "slots", 2, 2)
    held = slots.take("../../x/Ü")
    assert {path.name for path in (tmp_path / "slots").iterdir()} == {"guard", "0"}
    assert [path.name for path in tmp_path.iterdir()] == ["slots"]
    held.release()


def test_a_place_is_taken_within_a_millisecond_when_all_but_one_are_in_use(tmp_path):
    slots = AssociationSlots(tmp_path / "slots", 32, 16)
    held = [slots.take(f"CT{number % 8}") for number in range(31)]
    assert all(held)
    times_s = []
    for _ in range(50):
        begin_s = time.perf_counter()
        slot = slots.take("CT8")
        times_s.append(time.perf_counter() - begin_s)
        slot.release()
    assert min(times_s) < 1e-3
