"""Who is silent is taken over from; whoever could not beat is not taken for dead by those who could not either."""

import pytest

from covnode.queue import leases
from covnode.queue.leases import BEAT_S, SILENT_S, Leases


class Heartbeats:
    """Heartbeats of a peer that is always silent, in a database that can be away."""

    def __init__(self):
        self.away = False

    def beat(self):
        if self.away:
            raise OSError("away")

    def silent(self, longer_than_s):
        return ["peer"]


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


@pytest.fixture
def looks(clock):
    """Return (heartbeats, a function that lets time go by, beat by beat, and gives how often the peer was reaped)."""
    heartbeats, reaped = Heartbeats(), []
    mine = Leases(heartbeats, reaped.append, lambda: None)

    def look(beats, each_s=BEAT_S):
        reaped.clear()
        for _ in range(beats):
            clock.now_s += each_s
            try:
                mine._beat()
                mine._reap()
            except OSError:
                continue
        return len(reaped)

    return heartbeats, look


def test_a_silent_executor_is_taken_over_from_once_this_one_has_beaten_for_long_enough(looks):
    _heartbeats, look = looks
    assert look(int(SILENT_S / BEAT_S)) == 0
    assert look(1) == 1


def test_after_the_database_was_away_all_have_the_time_to_beat_again(looks):
    heartbeats, look = looks
    assert look(10) > 0
    heartbeats.away = True
    assert look(5) == 0
    heartbeats.away = False
    assert look(int(SILENT_S / BEAT_S)) == 0
    assert look(1) == 1


def test_a_database_that_hangs_is_one_that_is_away(looks):
    _heartbeats, look = looks
    assert look(10) > 0
    assert look(1, each_s=5.0) == 0
    assert look(5) > 0
