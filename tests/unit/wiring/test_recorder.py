"""The recorder writes down what doors say, whatever the database does meanwhile."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from arriving import arrived
from msgspec.structs import replace

from covnode.errors import TransientError
from covnode.receive.assembly import AssociationLedger
from covnode.receive.evidence import ABORTED, RELEASED
from covnode.records.arrival import CommitmentAsked, Ended, Stored
from covnode.settings import Settings
from covnode.store.tables import InstanceRow, SeriesRow
from covnode.wiring.recorder import Recorder


@dataclass
class Database:
    """A node whose database can be away."""

    real: object
    away: bool = False
    hangs: threading.Event | None = None
    settings: Settings = field(default_factory=Settings)
    spool: str | None = None

    def executor_id(self, role):
        return f"here:{role}-0"

    @contextmanager
    def transaction(self):
        if self.hangs is not None:
            self.hangs.wait(20)
        if self.away:
            raise TransientError("away")
        with self.real() as session:
            yield session


@pytest.fixture
def database(transaction):
    return Database(transaction)


@pytest.fixture
def recorded(database):
    """Give (recorder, ledger, what the gate was told, commitments); runs until the test ends."""
    ledger, gate, asked = AssociationLedger(), [], []
    recorder = Recorder(database, ledger, gate.append, asked.append)
    stopping = threading.Event()
    thread = threading.Thread(target=recorder.run, args=(stopping,))
    thread.start()
    yield recorder, ledger, gate, asked
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()


def until(condition):
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.02)


def count(database):
    with database.real() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(InstanceRow))


def series_id(database):
    with database.real() as session:
        return session.scalars(sa.select(SeriesRow.series_id)).first()


def test_instances_are_recorded_and_their_association_feeds_the_series_until_it_ends(database, recorded):
    recorder, ledger, _, asked = recorded
    recorder.hear("door-0", Stored("a-1", arrived()))
    until(lambda: count(database) == 1)
    until(lambda: ledger.end_of(series_id(database)) is None)
    recorder.hear("door-0", CommitmentAsked("a-1", "com-1.json"))
    recorder.hear("door-0", Ended("a-1", released=True))
    until(lambda: ledger.end_of(series_id(database)) == RELEASED)
    assert [one.file_name for one in asked] == ["com-1.json"]


def test_a_door_that_ended_has_broken_off_its_associations(database, recorded):
    recorder, ledger, _, _ = recorded
    recorder.hear("door-0", Stored("a-1", arrived()))
    recorder.hear("door-1", Ended("b-1", released=True))
    recorder.hear("door-0", None)
    until(lambda: count(database) == 1 and ledger.end_of(series_id(database)) == ABORTED)


def test_while_the_database_is_away_the_gate_is_closed_and_nothing_is_lost(database, recorded):
    recorder, _, gate, _ = recorded
    database.away = True
    recorder.hear("door-0", Stored("a-1", arrived(1)))
    recorder.hear("door-0", Stored("a-1", arrived(2)))
    until(lambda: gate and gate[-1])
    assert "database" in gate[-1]
    database.away = False
    until(lambda: count(database) == 2)
    until(lambda: gate[-1] is None)


def test_a_database_that_is_away_is_noticed_without_any_instance(database, recorded):
    _, _, gate, _ = recorded
    database.away = True
    until(lambda: gate and gate[-1])


def test_a_database_that_hangs_closes_the_gate(database, recorded, monkeypatch):
    monkeypatch.setattr("covnode.wiring.recorder._SLOW_S", 0.1)
    recorder, _, gate, _ = recorded
    database.hangs = threading.Event()
    recorder.hear("door-0", Stored("a-1", arrived()))

    def watched():
        recorder.watch()
        return gate and gate[-1]

    until(watched)
    database.hangs.set()
    until(lambda: count(database) == 1)
    until(lambda: gate[-1] is None)


def test_an_instance_that_cannot_be_written_holds_up_no_other(database, recorded):
    recorder, _, _, _ = recorded
    recorder.hear("door-0", Stored("a-1", replace(arrived(1), sop_class_uid="\udc00")))
    recorder.hear("door-0", Stored("a-1", arrived(2)))
    until(lambda: count(database) == 1)
