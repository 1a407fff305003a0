"""A process that ends is started again at once, and later each time that it did not last."""

import pytest

from covnode.wiring import restarts
from covnode.wiring.restarts import Restarts


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 1000.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(restarts, "time", clock)
    return clock


def lived(process, clock, for_s):
    process.started()
    clock.now_s += for_s
    return process.ended()


def test_the_pause_doubles_up_to_half_a_minute_and_begins_anew_after_a_steady_run(clock):
    process = Restarts()
    pauses = [lived(process, clock, 1.0) for _ in range(10)]
    assert pauses[:4] == [0.0, 0.25, 0.5, 1.0]
    assert pauses[-1] == 30.0
    assert not process.is_due()
    clock.now_s += 30.0
    assert process.is_due()
    assert lived(process, clock, 31.0) == 0.0
