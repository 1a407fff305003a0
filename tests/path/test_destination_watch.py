"""The watch over destinations that are away: a real SCP is there or not, and what waits for it goes or does not."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from queued_deliveries import queue_deliveries
from scripted_pacs import ScriptedPacs

from covnode.cli.local_node import LOOPBACK, PACS_AE
from covnode.clock import utc_now
from covnode.errors import CovnodeError, DeliveryRefused, PeerAway, StaleClaim, TransientError
from covnode.home import Home
from covnode.records.job import DeliveryState
from covnode.records.result import ObjectKind
from covnode.settings import Settings
from covnode.store import deliveries, destinations
from covnode.store.tables import DeliveryRow, DestinationRow
from covnode.wiring import sender
from covnode.wiring.destinations import DestinationWatch
from covnode.wiring.node import Node
from covnode.wiring.sender import DeliveriesInStore, DeliveryStages


@pytest.fixture
def pacs():
    scripted = ScriptedPacs()
    yield scripted
    scripted.stop()


@pytest.fixture
def node(tmp_path, database_url, pacs):
    peer = {"ae_title": PACS_AE, "host": LOOPBACK, "port": pacs.port, "deliver": True}
    settings = {"database": {"url": database_url}, "deliver": {"timeout_s": 2}, "peers": {"pacs": peer}}
    node = Node(Home(tmp_path / "home"), Settings.model_validate(settings))
    yield node
    node.engine.dispose()


@pytest.fixture
def records(node):
    return DeliveriesInStore(node, DestinationWatch(node))


def fail_until_away(node, records):
    """Return the deliveries of three studies, which did not reach their destination."""
    ids = queue_deliveries(node.transaction, ("a", "one"), ("b", "two"), ("c", "three"))
    for delivery_id in ids:
        assert records.retry_later(records.claim(delivery_id, 1), PeerAway("pacs does not answer"))
    assert breaker(node).away_since is not None
    return ids


def breaker(node):
    with node.transaction() as session:
        return session.get_one(DestinationRow, "pacs")


def rows(node):
    with node.transaction() as session:
        return session.scalars(sa.select(DeliveryRow).order_by(DeliveryRow.queued_at)).all()


def let_the_pause_pass(node):
    with node.transaction() as session:
        session.execute(sa.update(DestinationRow).values(next_probe_at=utc_now() - timedelta(seconds=1)))


def test_the_third_failure_in_a_row_has_the_delivery_wait_and_the_ones_before_come_to_it(node, records):
    ids = fail_until_away(node, records)
    assert [row.waits_for for row in rows(node)] == [None, None, "destination"]
    assert [row.next_attempt_at is None for row in rows(node)] == [False, False, True]
    assert records.claim(ids[0], 2) is None  # its own delay is over: it waits like the others
    assert rows(node)[0].waits_for == "destination"
    assert [row.attempts for row in rows(node)] == [1, 1, 1]


def test_a_probe_without_an_answer_prolongs_and_one_with_an_answer_releases_all_that_waits(node, records, pacs):
    ids = fail_until_away(node, records)
    watch = records.watch
    with pytest.raises(StaleClaim):
        watch.probe("pacs")  # it is left alone for a while
    let_the_pause_pass(node)
    watch.probe("pacs")
    assert breaker(node).failures == 4
    assert breaker(node).next_probe_at > utc_now()
    watch.look()
    assert rows(node)[2].waits_for == "destination"
    pacs.start()
    let_the_pause_pass(node)
    watch.probe("pacs")
    assert (breaker(node).failures, breaker(node).away_since) == (0, None)
    watch.look()
    assert rows(node)[2].waits_for is None
    assert records.claim(ids[2], 2).attempt == 2


def test_a_peer_that_rejects_the_probe_for_good_stays_away_so_that_nothing_is_parked(node, records, pacs):
    fail_until_away(node, records)
    pacs.allowed = "SOMEBODY"
    pacs.start()
    let_the_pause_pass(node)
    records.watch.probe("pacs")
    assert breaker(node).away_since is not None
    assert "for good" in breaker(node).last_error


def test_what_waits_for_too_long_is_parked_with_an_error_in_the_log(node, records, capsys):
    fail_until_away(node, records)
    with node.transaction() as session:
        session.execute(sa.update(DeliveryRow).values(state_at=utc_now() - timedelta(days=4)))
    records.watch.look()
    assert [row.state for row in rows(node)] == [DeliveryState.QUEUED, DeliveryState.QUEUED, DeliveryState.FAILED]
    assert "delivery_failed" in capsys.readouterr().out


def test_a_delivery_that_fails_for_too_long_is_given_up(node, records):
    (failing,) = queue_deliveries(node.transaction, ("a", "one"))
    with node.transaction() as session:
        session.get_one(DeliveryRow, failing).first_claimed_at = utc_now() - timedelta(days=4)
    assert not records.retry_later(records.claim(failing, 1), TransientError("A700"))
    (row,) = rows(node)
    assert (row.state, row.reason_code) == (DeliveryState.FAILED, "gave_up")


@pytest.mark.parametrize(
    ("error", "hours", "passes"),
    [(TransientError("A700"), 2, True), (TransientError("A700"), 0, False), (PeerAway("nobody there"), 2, False)],
)
def test_the_order_of_a_study_is_kept_for_an_hour_where_the_destination_answers(node, records, error, hours, passes):
    first, second = queue_deliveries(node.transaction, ("a", "study"), ("b", "study"))
    with node.transaction() as session:
        session.get_one(DeliveryRow, first).first_claimed_at = utc_now() - timedelta(hours=hours)
    assert records.retry_later(records.claim(first, 1), error)
    assert (records.claim(second, 1) is not None) is passes


@pytest.mark.parametrize("error", [TransientError("A700"), DeliveryRefused("A900", "A900"), StaleClaim("another")])
def test_any_answer_ends_the_count_of_failures(node, records, monkeypatch, error):
    (tried,) = queue_deliveries(node.transaction, ("a", "one"))
    with node.transaction() as session:
        destinations.note_failure(session, "pacs", "nobody there", 3, lambda _n: 1.0)

    def answers(*_):
        raise error

    monkeypatch.setattr(sender, "send", answers)
    claim = records.claim(tried, 1)
    with pytest.raises(CovnodeError):
        DeliveryStages(node, None).send(claim, {ObjectKind.SEG: node.home.root}, None)
    assert breaker(node).failures == 0


def test_what_lies_in_the_outbox_leaves_as_it_is_until_the_interlock_refuses_it(node, records, monkeypatch, tmp_path):
    (tried,) = queue_deliveries(node.transaction, ("a", "one"))
    claim = records.claim(tried, 1)
    objects = [type("Object", (), {"kind": kind, "path": tmp_path / f"{kind}.dcm"}) for kind in ("seg", "sr")]
    monkeypatch.setattr(sender, "load_result", lambda _f: type("Stored", (), {"objects": objects, "result": None}))
    monkeypatch.setattr(sender, "load_masks", lambda _path: None)
    vault = type("Vault", (), {"read": lambda *_: None})()
    written = []

    def restore(source, target, _identity):
        written.append(target.name)
        target.write_text(f"{target.name} {len(written)}")

    monkeypatch.setattr(sender, "restore_identity", restore)
    stages = DeliveryStages(node, vault)
    for _ in range(2):
        final = stages.restore(claim)
        assert [path.read_text() for path in final.values()] == ["seg.dcm 1", "sr.dcm 2"]

    def refuse(*_, **__):
        raise DeliveryRefused("the mask is mirrored", "side")

    monkeypatch.setattr(sender, "check_delivery", refuse)
    with pytest.raises(DeliveryRefused):
        stages.check(claim, final)
    assert [path.read_text() for path in stages.restore(claim).values()] == ["seg.dcm 3", "sr.dcm 4"]


def test_a_full_disk_is_no_fault_of_the_delivery(node, records, monkeypatch, tmp_path):
    (tried,) = queue_deliveries(node.transaction, ("a", "one"))
    claim = records.claim(tried, 1)
    objects = [type("Object", (), {"kind": "seg", "path": tmp_path / "seg.dcm"})]
    monkeypatch.setattr(sender, "load_result", lambda _f: type("Stored", (), {"objects": objects}))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sender, "restore_identity", full)
    with pytest.raises(TransientError, match="ENOSPC"):
        DeliveryStages(node, type("Vault", (), {"read": lambda *_: None})()).restore(claim)


def test_a_destination_that_is_no_peer_any_more_is_not_waited_for(node, records, tmp_path):
    ids = queue_deliveries(node.transaction, ("a", "one"), destination="old")
    with node.transaction() as session:
        destinations.note_failure(session, "old", "nobody there", 1, lambda _n: -1.0)
    assert records.claim(ids[0], 1) is None
    records.watch.probe("old")
    records.watch.look()
    with node.transaction() as session:
        assert not destinations.is_away(session, "old")
        assert deliveries.claim(session, ids[0], 2, "a") is not None
