"""What retention removes, what it never removes, and what becomes of work on a series whose files are gone."""

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from kept_node import Kept
from spooled import keep
from structlog.testing import capture_logs

from covnode.clock import utc_now
from covnode.errors import ConfigurationError
from covnode.receive.assembly import AssociationLedger
from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.settings import CompletenessSettings, Settings
from covnode.store import analyses, series, studies
from covnode.store.tables import AnalysisRow, InstanceRow, SeriesRow, StudyRow
from covnode.wiring import retention
from covnode.wiring.assembling import Assembling
from covnode.wiring.intake import TakingIn
from covnode.wiring.lacking import refuse_without_files
from covnode.wiring.node import Node
from covnode.wiring.reconciliation import reconcile
from covnode.wiring.retention import Retention, nothing_removed, retain


@pytest.fixture
def kept(tmp_path, database_url):
    kept = Kept(tmp_path, database_url)
    yield kept
    kept.node.engine.dispose()


def test_what_is_delivered_goes_and_its_rows_stay(kept):
    series_id, other = kept.delivered(1), kept.series(2, SeriesState.RECEIVING)
    foretold = {outcome.series_id: outcome for outcome in Retention(kept.node).foretell()}
    assert len(kept.files()) == 9
    outcomes = kept.run()
    assert outcomes == foretold
    assert outcomes[series_id].removed
    assert outcomes[series_id].size_bytes > 300
    assert (outcomes[other].removed, outcomes[other].why) == (False, "it is receiving")
    assert [path.parent.name for path in kept.files()] == [kept.row(other).series_digest] * 3
    row = kept.row(series_id)
    assert row.files_removed_at is not None
    assert not row.files_held
    with kept.node.transaction() as session:
        counts = [session.scalar(sa.select(sa.func.count()).select_from(table)) for table in (InstanceRow, AnalysisRow)]
    assert counts == [6, 1]
    assert kept.removed() == set()


ON_ITS_WAY = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN, SeriesState.QUARANTINED)


@pytest.mark.parametrize("state", ON_ITS_WAY)
def test_a_series_that_is_on_its_way_or_held_back_stays(kept, state):
    kept.series(1, state)
    before = kept.files()
    assert kept.removed() == set()
    assert kept.files() == before


UNENDED = (AnalysisState.QUEUED, AnalysisState.RUNNING, AnalysisState.FAILED, "of_a_later_release")


@pytest.mark.parametrize("state", UNENDED)
def test_an_analysis_that_is_open_or_failed_keeps_its_files(kept, state):
    kept.analysis(kept.series(), state)
    before = kept.files()
    assert kept.removed() == set()
    assert kept.files() == before


UNDELIVERED = (DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.BLOCKED, DeliveryState.FAILED, "held")


@pytest.mark.parametrize("state", UNDELIVERED)
def test_one_delivery_that_has_not_arrived_keeps_the_files(kept, state):
    analysis_id = kept.analysis(kept.series())
    kept.delivery(analysis_id)
    kept.delivery(analysis_id, state, "archive")
    before = kept.files()
    (outcome,) = kept.run().values()
    assert outcome.why == f"it has a delivery to archive that is {state}"
    assert kept.files() == before


def test_a_result_that_nobody_was_to_be_sent_stays(kept):
    kept.analysis(kept.series())
    (outcome,) = kept.run().values()
    assert (outcome.removed, outcome.why) == (False, "it has a result that nobody was sent")


def test_what_counts_is_the_newest_revision(kept):
    series_id = kept.delivered()
    with kept.node.transaction() as session:
        session.get_one(SeriesRow, series_id).revision = 2
    assert kept.removed() == set()
    failed = kept.analysis(series_id, AnalysisState.FAILED)
    assert kept.removed() == set()
    with kept.node.transaction() as session:
        session.get_one(AnalysisRow, failed).state = AnalysisState.ANALYSED
    kept.delivery(failed)
    assert kept.removed() == {series_id}
    assert kept.files() == []


@pytest.mark.parametrize(("policy", "gone"), [("delivered_days", "delivered"), ("without_result_days", "not analysed")])
def test_each_end_has_a_policy_of_its_own(tmp_path, database_url, policy, gone):
    kept = Kept(tmp_path, database_url, **{policy: 1e-9})
    known = {"delivered": kept.delivered(1), "not analysed": kept.series(2)}
    kept.analysis(known["not analysed"], AnalysisState.NOT_ANALYSED)
    assert kept.removed() == {known[gone]}


def test_without_a_policy_and_before_its_time_nothing_goes(tmp_path, database_url):
    forever = Kept(tmp_path, database_url, delivered_days=0)
    series_id = forever.delivered()
    before = forever.files()
    assert "for ever" in forever.run()[series_id].why
    later = Kept.__new__(Kept)
    settings = Settings.model_validate({"database": {"url": database_url}, "retention": {"delivered_days": 30}})
    later.node = Node(forever.node.home, settings)
    due = utc_now() + timedelta(days=30)
    assert f"until {due:%Y-%m-%d}" in later.run()[series_id].why
    assert forever.files() == before


def test_a_series_that_was_passed_over_stays_while_the_chosen_one_may_fail(kept):
    chosen, other = kept.series(1), kept.series(2, SeriesState.NOT_CHOSEN)
    analysis_id = kept.analysis(chosen, AnalysisState.FAILED)
    with kept.node.transaction() as session:
        session.get_one(StudyRow, kept.row(chosen).study_id).chosen_series_id = chosen
    assert kept.run()[other].why == f"it {chosen}, chosen of its study, has an analysis that is failed"
    with kept.node.transaction() as session:
        session.get_one(AnalysisRow, analysis_id).state = AnalysisState.NOT_ANALYSED
    assert kept.removed() == {chosen, other}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["shutil.rmtree", "_is_back", "retention.note_removed"])
def test_what_a_killed_run_left_is_removed_by_the_next(kept, monkeypatch, step):
    series_id = kept.delivered()

    def die(*_arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"covnode.wiring.retention.{step}", die)
        with pytest.raises(Killed):
            kept.run()
    assert kept.row(series_id).files_removed_at is not None
    assert kept.row(series_id).files_held
    assert kept.removed() == {series_id}
    assert kept.files() == []
    assert not kept.row(series_id).files_held


def test_a_file_set_aside_by_a_killed_run_is_removed_by_the_next(kept, monkeypatch):
    series_id = kept.delivered()
    unlinked = retention.Path.unlink

    def die(path, **options):
        if path.suffix == ".removing":
            raise Killed
        unlinked(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(retention.Path, "unlink", die)
        with pytest.raises(Killed):
            kept.run()
    assert kept.removed() == {series_id}
    assert kept.files() == []


def test_what_a_sender_repeats_while_it_is_removed_stays(kept, monkeypatch):
    """Its Success is given before the file is looked at: the file must be there, and be known to be."""
    series_id = kept.delivered()
    note = retention.retention.files_of

    def meanwhile(session, of):
        keep(kept.spool, 2)
        return note(session, of)

    with monkeypatch.context() as patch:
        patch.setattr(retention.retention, "files_of", meanwhile)
        outcome = kept.run()[series_id]
    assert (outcome.removed, outcome.why) == (False, "1 of its files were just sent again")
    assert len(kept.files()) == 1
    assert kept.row(series_id).files_held
    kept.age()
    assert kept.removed() == {series_id}
    assert kept.files() == []


def test_a_door_that_finds_a_file_moved_aside_writes_it_anew(kept, monkeypatch):
    series_id = kept.delivered()
    renamed, again = retention.Path.rename, []

    def rename(path, target):
        renamed(path, target)
        if path.suffix == ".dcm" and not again:
            again.append(None)
            again.append(kept.record(keep(kept.spool, 1), keep(kept.spool, 2), keep(kept.spool, 3)))

    with monkeypatch.context() as patch:
        patch.setattr(retention.Path, "rename", rename)
        outcome = kept.run()[series_id]
    assert not outcome.removed
    assert again[1] == series_id
    assert len(kept.files()) == 3
    assert kept.row(series_id).files_held


def test_a_repeat_after_the_removal_changes_nothing_and_is_removed_again(kept):
    series_id = kept.delivered()
    assert kept.removed() == {series_id}
    again = [keep(kept.spool, number) for number in (1, 2, 3)]  # the door's folder is gone, too
    assert kept.record(*again) == series_id
    row = kept.row(series_id)
    assert (row.state, row.revision, row.files_held) == (SeriesState.HANDED_OVER, 1, True)
    assert row.last_instance_at > row.files_removed_at
    kept.age()
    assert kept.removed() == {series_id}
    assert kept.files() == []


def test_a_repeat_whose_message_was_lost_is_found_by_the_next_start(kept):
    series_id = kept.delivered()
    kept.removed()
    with capture_logs() as logs:
        reconcile(kept.node, kept.spool, threading.Event())
    assert [(line["event"], line["missing"]) for line in logs] == [("spool_reconciled", 0)]
    keep(kept.spool, 1)
    with capture_logs() as logs:
        reconcile(kept.node, kept.spool, threading.Event())
    assert [line["event"] for line in logs] == ["instances_recovered", "spool_reconciled"]
    assert kept.row(series_id).files_held


def close(kept):
    """Have every quiet series judged complete."""
    limits = CompletenessSettings(idle_s=1e-6, gap_idle_s=1e-6, open_idle_s=1e-6, aborted_idle_s=1e-6, watchdog_s=1e-6)
    settings = kept.node.settings.model_copy(update={"completeness": limits})
    Assembling(Node(kept.node.home, settings), AssociationLedger()).run_once()


def test_a_late_slice_of_removed_files_waits_for_the_whole_series(kept):
    series_id = kept.delivered()
    kept.removed()
    kept.record(keep(kept.spool, 4))
    close(kept)
    row = kept.row(series_id)
    today = f"{row.files_removed_at:%Y-%m-%d}"
    assert (row.state, row.reason_code, row.revision) == (SeriesState.QUARANTINED, series.FILES_REMOVED, 2)
    assert row.reason == (
        f"retention removed 3 of its 4 files on {today}: have the whole series sent again, then it goes on by itself"
    )
    with kept.node.transaction() as session, pytest.raises(ConfigurationError, match="removed 3 of its 4 files"):
        refuse_without_files(kept.node, session, series_id)
    assert kept.removed() == set()

    kept.record(keep(kept.spool, 1))
    close(kept)
    assert kept.row(series_id).reason.startswith("retention removed 2 of its 4 files")
    kept.record(keep(kept.spool, 2), keep(kept.spool, 3))
    assert kept.row(series_id).state == SeriesState.RECEIVING
    close(kept)
    row = kept.row(series_id)
    assert (row.state, row.revision, row.reason) == (SeriesState.COMPLETE, 2, None)
    with kept.node.transaction() as session:
        refuse_without_files(kept.node, session, series_id)


def test_the_intake_takes_no_part_of_a_series(kept):
    series_id = kept.series(1, SeriesState.NOT_CHOSEN)
    assert kept.removed() == {series_id}
    with kept.node.transaction() as session:
        studies.choose_by_hand(session, series_id)  # as a person may who was a moment earlier
    TakingIn(kept.node, None).run_once()
    row = kept.row(series_id)
    assert (row.state, row.reason_code) == (SeriesState.QUARANTINED, series.FILES_REMOVED)


def test_an_analysis_whose_copy_is_gone_is_taken_in_anew_instead_of_tried_again(kept):
    series_id = kept.series()
    analysis_id = kept.analysis(series_id, AnalysisState.NOT_ANALYSED)
    assert kept.removed() == {series_id}

    def refused():
        with kept.node.transaction() as session, pytest.raises(ConfigurationError) as error:
            refuse_without_files(kept.node, session, analysis_id)
        return str(error.value)

    assert "removed 3 of its 3 files" in refused()
    kept.record(*(keep(kept.spool, number) for number in (1, 2, 3)))
    assert f"removed its copy on {utc_now():%Y-%m-%d}: 'covnode series choose {series_id}'" in refused()
    with kept.node.transaction() as session:
        refuse_without_files(kept.node, session, series_id)
        studies.choose_by_hand(session, series_id)
    row = kept.row(series_id)
    assert (row.state, row.revision) == (SeriesState.CHOSEN, 2)


def test_an_analysis_that_is_tried_again_meanwhile_keeps_its_files(kept, monkeypatch):
    series_id = kept.series()
    analysis_id = kept.analysis(series_id, AnalysisState.NOT_ANALYSED)
    held = retention.retention.held

    def then_retried(session, last, limit, spool):
        page = held(session, last, limit, spool)
        if page:
            analyses.retry(session, analysis_id)
        return page

    monkeypatch.setattr(retention.retention, "held", then_retried)
    before = kept.files()
    assert kept.run()[series_id].why == "it has an analysis that is queued"
    assert kept.files() == before


def test_nothing_is_removed_while_a_backup_is_made(kept):
    series_id = kept.delivered()
    with nothing_removed(kept.node.home):
        with pytest.raises(BlockingIOError):
            kept.run()
        with capture_logs() as logs:
            retain(kept.node, threading.Event())
        assert [line["event"] for line in logs] == ["retention_postponed"]
    with capture_logs() as logs:
        retain(kept.node, threading.Event())
    assert [(line["event"], line["series_id"]) for line in logs] == [("files_removed", series_id)]


def test_a_file_that_cannot_be_removed_is_told_and_holds_no_other_up(kept, monkeypatch):
    first, second = kept.delivered(1), kept.delivered(2)
    bad = kept.row(first).series_digest
    is_back = retention._is_back

    def failing(path):
        if path.parent.name == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return is_back(path)

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_is_back", failing)
        outcomes = kept.run()
    assert outcomes[second].removed
    assert (outcomes[first].removed, "Permission denied" in outcomes[first].why) == (False, True)
    assert kept.removed() == {first}
