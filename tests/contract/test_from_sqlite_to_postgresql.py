"""A node that outgrows SQLite: every row goes to a real PostgreSQL, what was open goes on, and nothing is half done."""

import itertools
import json

import pytest
import sqlalchemy as sa
from engine_jobs import without_job
from kept_node import Kept
from patients_taken_in import take_in
from processes import configure, covnode
from structlog.testing import capture_logs

from covnode.cli.settings_file import default_document, write_document
from covnode.clock import utc_now
from covnode.errors import ConfigurationError
from covnode.queue.engine import migrate_engine
from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.store import analyses, audit, deliveries, patients, transfer
from covnode.store.engine import make_engine
from covnode.store.requeue import open_jobs
from covnode.store.tables import (
    AnalysisRow,
    AuditRow,
    Base,
    DeliveryRow,
    DestinationRow,
    InstanceRow,
    PatientRow,
    QueueRow,
    ShadowAnswerRow,
)
from covnode.store.upgrades import upgrade
from covnode.wiring.node import hold_lock, open_node, requeue_lost

pytestmark = pytest.mark.xdist_group("dbos")

_numbers = itertools.count()


@pytest.fixture
def old(tmp_path):
    """A stopped node on SQLite with rows in every table."""
    home = tmp_path / "home"
    home.mkdir()
    url = f"sqlite:///{home / 'covnode.db'}"
    engine = make_engine(url)
    upgrade(engine)
    migrate_engine(url)
    engine.dispose()
    kept = Kept(home, url)
    kept.delivered(1)
    kept.series(2, SeriesState.QUARANTINED)
    with kept.node.transaction() as session:
        analysis_id = kept.analysis(kept.series(3))
        delivery = deliveries.open_delivery(session, analysis_id, "pacs")
        kept.node.queue.enqueue(session, delivery)
        deliveries.record_object(
            session, deliveries.claim(session, delivery.subject_id, 1, "old:sender-0"), "seg", "2", 0
        )
        session.execute(sa.text("INSERT INTO executors VALUES ('old:sender-0', 'sender', 1.5)"))
        about = {"task": "severity", "model": "own", "sha256": "a" * 64, "active_model": "severity-demo"}
        session.add(ShadowAnswerRow(analysis_id=analysis_id, **about, answer=12.5, agrees=True))
        session.add_all([QueueRow(name="analysis", reason="upgrade"), DestinationRow(destination="pacs", failures=1)])
    # Two patients, of whom the one that sorts first is merged into the other.
    for number, patient_id in enumerate(("P1", "P2"), start=11):
        take_in(kept.node, patient_id, number)
    with kept.node.transaction() as session:
        first, second = session.scalars(sa.select(PatientRow).order_by(PatientRow.patient_digest))
        patients.merge(session, first.pseudonymous_patient_id, second.pseudonymous_patient_id)
        audit.write(session, audit.Access("test", audit.Action.LOOKUP, "why"), audit.Outcome.DONE, ["CN-1"])
    write_document(kept.node.home, default_document(kept.node.settings))
    yield kept.node
    kept.node.engine.dispose()


@pytest.fixture
def new(old, postgresql):
    """The same home, whose configuration names an empty PostgreSQL database with the tables of this release."""
    configure(old.home, {"database.url": postgresql.create_database(f"grown{next(_numbers)}")})
    node = open_node(old.home)
    node.upgrade_database()
    yield node
    node.engine.dispose()


def migrate(node, *options):
    return covnode("db", "migrate-from", str(node.home.root / "covnode.db"), "--home", str(node.home.root), *options)


def rows_of(node):
    tables = Base.metadata.tables.items()
    with node.engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(sa.select(table)))) for name, table in tables}


def test_every_row_arrives_and_what_was_open_goes_on(old, new):
    done = migrate(new, "--json")
    assert done.returncode == 0, done.stderr
    told = {one["table"]: one["rows"] for one in json.loads(done.stdout)}
    before = rows_of(old)
    assert told == {name: len(rows) for name, rows in before.items()}
    assert min(told.values()) >= 1
    assert rows_of(new) == before

    with new.transaction() as session:
        jobs = open_jobs(session)
        assert without_job(session, new.queue, jobs) == jobs
    assert {job.kind for job in jobs} == {"analysis", "delivery"}
    with capture_logs() as logs:
        requeue_lost(new)
    assert {line["subject_id"] for line in logs} == {job.subject_id for job in jobs}
    with new.transaction() as session:
        again = open_jobs(session)
        assert without_job(session, new.queue, again) == []
        claims = [
            analyses.claim(session, job.subject_id, job.enqueues, "new:worker-0")
            if job.kind == "analysis"
            else deliveries.claim(session, job.subject_id, job.enqueues, "new:sender-0")
            for job in again
        ]
        assert None not in claims
        assert {claim.delivered for claim in claims if hasattr(claim, "delivered")} == {frozenset({"seg"})}


def test_numbers_go_on_and_the_audit_trail_still_only_grows(old, new):
    assert migrate(new).returncode == 0
    with old.transaction() as session:
        last = session.scalar(sa.select(sa.func.max(InstanceRow.instance_id)))
    with new.transaction() as session:
        audit.write(session, audit.Access("test", audit.Action.LOOKUP, "why"), audit.Outcome.DONE)
        row = session.scalars(sa.select(InstanceRow)).first()
        values = {column.key: getattr(row, column.key) for column in sa.inspect(InstanceRow).columns}
        del values["instance_id"]
        values |= {"sop_digest": "new", "received_at": utc_now()}
        session.execute(sa.insert(InstanceRow).values(**values))
        assert session.scalar(sa.select(sa.func.max(InstanceRow.instance_id))) == last + 1
    with new.engine.begin() as connection, pytest.raises(sa.exc.DBAPIError, match="only added to"):
        connection.execute(sa.delete(AuditRow))


def refused(done):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_node_that_runs_is_not_copied(new):
    hold_lock(new.home, "sender-0", "")  # holds it until this process ends
    assert "the node runs on" in refused(migrate(new))


def test_rows_in_the_target_are_not_mixed_with_others(new):
    assert migrate(new).returncode == 0
    before = rows_of(new)
    assert "names a database with rows in" in refused(migrate(new))
    assert rows_of(new) == before


def test_tables_of_another_release_are_refused_on_either_side(old, new, postgresql):
    with old.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    assert "covnode.db is at revision 0001" in refused(migrate(new))
    configure(old.home, {"database.url": postgresql.create_database(f"grown{next(_numbers)}")})
    assert "the database is at revision none" in refused(migrate(new))
    configure(old.home, {"database.url": ""})
    assert "database.url names no PostgreSQL database" in refused(migrate(new))


def test_a_difference_between_what_was_read_and_written_undoes_everything(old, new):
    def changing(connection, cursor, statement, parameters, context, is_many):
        if statement.startswith("INSERT INTO deliveries"):
            cursor.execute("UPDATE analyses SET attempts = attempts + 1")

    sa.event.listen(new.engine, "before_cursor_execute", changing)
    with pytest.raises(ConfigurationError, match="what was written to analyses differs from what was read"):
        transfer.transfer(old.engine, new.engine, lambda _done, _of: None)
    sa.event.remove(new.engine, "before_cursor_execute", changing)
    assert not any(rows_of(new).values())


def test_a_row_that_postgresql_cannot_hold_undoes_everything(old, new):
    with old.engine.begin() as connection:
        connection.execute(sa.update(DeliveryRow).values(reason="a\0b", state=DeliveryState.FAILED))
        connection.execute(sa.update(AnalysisRow).values(state=AnalysisState.FAILED))
    assert "nothing was kept" in refused(migrate(new))
    assert not any(rows_of(new).values())
