"""The loops of the receiver go on, whatever one step does."""

import threading

from covnode.errors import TransientError
from covnode.wiring.receiver import Assembly


class Step:
    def __init__(self, error=None):
        self.error = error
        self.count = 0
        self.twice = threading.Event()

    def run_once(self):
        self.count += 1
        if self.count > 1:
            self.twice.set()
        if self.error:
            raise self.error


def test_a_step_that_fails_stops_neither_the_others_nor_itself():
    steps = Step(RuntimeError("x")), Step(TransientError("y")), Step()
    stopping = threading.Event()
    thread = threading.Thread(target=Assembly(*steps).run, args=(stopping,))
    thread.start()
    assert all(step.twice.wait(20) for step in steps)
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()
