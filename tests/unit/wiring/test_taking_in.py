"""The intake of chosen series when something fails, and what is said of a series that stands too long."""

import errno
from datetime import timedelta

import pytest
from arriving import arrived
from structlog.testing import capture_logs

from covnode.clock import utc_now
from covnode.errors import ConfigurationError, StoreAway, TransientError
from covnode.home import Home
from covnode.records.job import SeriesState
from covnode.settings import Settings
from covnode.store import arrivals, series
from covnode.store.tables import SeriesRow
from covnode.wiring.intake import TakingIn
from covnode.wiring.node import Node
from covnode.wiring.setbacks import MAX_STORAGE_ATTEMPTS, Setbacks

IDENTITY = "Doe^Jane"


class FailingIntake:
    """An intake that fails as long as it is told to."""

    def __init__(self, node):
        self.node, self.error, self.tries = node, None, []

    def take(self, series_id):
        self.tries.append(series_id)
        if self.error is not None:
            raise self.error
        with self.node.transaction() as session:
            series.mark_handed_over(session, series_id, 1)


class Intaking:
    """A node with chosen series, whose clock goes by the test's word."""

    def __init__(self, node):
        self.node, self.now_s = node, 0.0
        self.intake = FailingIntake(node)
        self.taking_in = TakingIn(node, self.intake, Setbacks(5.0, lambda: self.now_s))
        with node.transaction() as session:
            (self.series_id,) = arrivals.record(session, [arrived()], "amend")
            series.mark_complete(session, self.series_id, 1, "why")
            series.mark_chosen(session, self.series_id, 1)

    def look(self, *, after_s=60.0):
        self.now_s += after_s
        self.taking_in.run_once()
        return self.row().state

    def row(self):
        with self.node.transaction() as session:
            return session.get_one(SeriesRow, self.series_id)


@pytest.fixture
def intaking(tmp_path, database_url):
    node = Node(Home(tmp_path), Settings.model_validate({"database": {"url": database_url}}))
    yield Intaking(node)
    node.engine.dispose()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_a_disk_without_room_costs_a_series_no_attempt(intaking, number):
    intaking.intake.error = OSError(number, "full")
    for _ in range(2 * MAX_STORAGE_ATTEMPTS):
        assert intaking.look() == SeriesState.CHOSEN
    assert intaking.row().intake_attempts == 0
    intaking.intake.error = None
    assert intaking.look() == SeriesState.HANDED_OVER


def test_a_medium_that_fails_is_tried_for_long_but_not_for_ever(intaking):
    intaking.intake.error = OSError(errno.EIO, IDENTITY)
    for _ in range(MAX_STORAGE_ATTEMPTS - 1):
        assert intaking.look() == SeriesState.CHOSEN
    assert intaking.look() == SeriesState.QUARANTINED
    assert intaking.row().reason == f"the intake failed {MAX_STORAGE_ATTEMPTS} times with OSError (EIO)"


def test_a_key_that_another_host_has_and_this_one_lacks_is_waited_for(intaking):
    intaking.intake.error = ConfigurationError("the key file has no generation 2")
    for _ in range(MAX_STORAGE_ATTEMPTS - 1):
        assert intaking.look() == SeriesState.CHOSEN
    intaking.intake.error = None
    assert intaking.look() == SeriesState.HANDED_OVER


def test_another_failure_is_tried_three_times_with_a_pause_that_grows(intaking):
    intaking.intake.error = ValueError(IDENTITY)
    tries = []
    for second in range(20):
        intaking.look(after_s=1.0)
        if len(intaking.intake.tries) > len(tries):
            tries.append(second)
    assert tries == [0, 5, 15]
    row = intaking.row()
    assert (row.state, row.reason_code) == (SeriesState.QUARANTINED, "intake_failed")
    assert row.reason == "the intake failed 3 times with ValueError"


def test_a_database_that_is_away_costs_a_series_no_attempt(intaking):
    intaking.intake.error = TransientError("away")
    for _ in range(5):
        with pytest.raises(TransientError):
            intaking.look(after_s=0.5)
    intaking.intake.error = None
    assert intaking.look(after_s=0.5) == SeriesState.HANDED_OVER
    assert intaking.row().intake_attempts == 0


def test_a_chosen_series_that_is_not_taken_in_is_reported_once(intaking):
    intaking.intake.error = OSError(errno.ENOSPC, "full")
    with capture_logs() as logs:
        intaking.look()
        with intaking.node.transaction() as session:
            session.get_one(SeriesRow, intaking.series_id).state_at = utc_now() - timedelta(seconds=3700)
        for _ in range(3):
            intaking.look()
    (stuck,) = [log for log in logs if log["event"] == "series_stuck"]
    assert (stuck["series_id"], stuck["state"], stuck["age_s"]) == (intaking.series_id, "chosen", 3700)


def test_a_store_that_is_away_holds_up_all_for_a_pause_and_puts_none_in_quarantine(intaking):
    intaking.intake.error = StoreAway("the store does not answer")
    with capture_logs() as logs:
        for _ in range(2 * MAX_STORAGE_ATTEMPTS):
            assert intaking.look() == SeriesState.CHOSEN
    assert {line["event"] for line in logs} == {"intake_waits_for_store"}
    tries = len(intaking.intake.tries)
    intaking.look(after_s=1)
    assert len(intaking.intake.tries) == tries, "not asked again at every look"
    intaking.intake.error = None
    assert intaking.look() == SeriesState.HANDED_OVER
    assert intaking.row().intake_attempts == 0
