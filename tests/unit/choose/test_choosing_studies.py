"""The choice on a node's own tables and spool, and the commands that show it."""

import errno
import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from msgspec.structs import asdict
from scanner_series import SERIES, write
from structlog.testing import capture_logs
from typer.testing import CliRunner

from covnode.choose import facts
from covnode.choose.rules import SHIPPED
from covnode.cli.app import app
from covnode.clock import utc_now
from covnode.errors import ConfigurationError, TransientError
from covnode.home import Home
from covnode.records.job import AnalysisState, SeriesState
from covnode.records.series import DeidentifiedSeries
from covnode.settings import ChoiceSettings, Settings
from covnode.store import analyses, series, views
from covnode.store.tables import AnalysisRow, Base, InstanceRow, SeriesRow, StudyRow
from covnode.store.upgrades import upgrade
from covnode.wiring import choosing
from covnode.wiring.choosing import Choosing
from covnode.wiring.node import Node
from covnode.wiring.setbacks import MAX_STORAGE_ATTEMPTS

STUDY = "std-000000000001"
IDENTITY = "Doe^Jane"


class Hospital:
    """A node's database and spool, filled as the receiver would."""

    def __init__(self, root, **choice):
        self.node = Node(Home(root), Settings(choice=ChoiceSettings(**{"study_idle_s": 60.0, **choice})))
        root.mkdir(exist_ok=True)
        upgrade(self.node.engine)
        self.arrived = utc_now() - timedelta(minutes=10)
        self.choosing = Choosing(self.node)

    def study(self, study_id=STUDY, *, quiet=True, stat=False):
        last = self.arrived if quiet else utc_now()
        with self.node.transaction() as session:
            session.merge(
                StudyRow(
                    study_id=study_id,
                    study_digest=study_id,
                    received_at=self.arrived,
                    last_instance_at=last,
                    stat=stat,
                )
            )

    def add(self, name, state=SeriesState.COMPLETE, *, study_id=STUDY, kind=None, first=None):
        """Add one of SERIES under the id ser-NAME, or its first slices alone."""
        series_id = f"ser-{name.replace(' ', '-')}"
        files = write(SERIES[kind or name], self.node.home.spool / series_id)[:first]
        self.arrived += timedelta(seconds=1)
        row = SeriesRow(
            series_id=series_id,
            study_id=study_id,
            series_digest=series_id,
            state=state,
            revision=1,
            received_at=self.arrived,
            last_instance_at=self.arrived,
            state_at=self.arrived,
            instance_count=len(files),
            source_ae_title="CT",
        )
        with self.node.transaction() as session:
            session.add(row)
        self._record(series_id, files)
        return series_id

    def _record(self, series_id, files):
        instances = [
            InstanceRow(
                series_id=series_id,
                sop_digest=f"{series_id}{file.path.name}",
                content_digest=f"{file.path.stem:>064}",
                file_name=f"{series_id}/{file.path.name}",
                size_bytes=1,
                sop_class_uid="1.2",
                transfer_syntax_uid="1.2",
                received_at=self.arrived,
                facts=json.loads(json.dumps(asdict(file.facts))),
            )
            for file in files
        ]
        with self.node.transaction() as session:
            session.add_all(instances)

    def come_back(self, series_id, after, until):
        """Have more slices of the series of this kind come in, as its second revision."""
        kind = series_id.removeprefix("ser-").replace("-", " ")
        self._record(series_id, write(SERIES[kind], self.node.home.spool / series_id)[after:until])
        self.move(series_id, SeriesState.RECEIVING, revision=2, instance_count=until)

    def look(self):
        self.choosing.run_once()
        return self.states()

    def look_again(self, series_id):
        """Have the choice made once more, and return the sheet that it kept."""
        self.move(series_id, SeriesState.COMPLETE)
        self.choosing.run_once()
        return self.row(series_id).score_sheet

    def is_stat(self):
        with self.node.transaction() as session:
            return session.get_one(StudyRow, STUDY).stat

    def states(self):
        with self.node.transaction() as session:
            return {row.series_id: row.state for row in session.scalars(sa.select(SeriesRow))}

    def row(self, series_id):
        with self.node.transaction() as session:
            return session.get_one(SeriesRow, series_id)

    def choice(self, study_id=STUDY):
        with self.node.transaction() as session:
            row = session.get_one(StudyRow, study_id)
        return row.chosen_series_id, row.choice_revision

    def move(self, series_id, state, **values):
        with self.node.transaction() as session:
            session.execute(sa.update(SeriesRow).where(SeriesRow.series_id == series_id).values(state=state, **values))

    def hand_over(self, series_id):
        row = self.row(series_id)
        with self.node.transaction() as session:
            series.mark_handed_over(session, series_id, row.revision)
            copy = DeidentifiedSeries(series_id, row.revision, (), "0" * 64)
            return analyses.open_analysis(session, copy).subject_id


@pytest.fixture
def hospital(tmp_path):
    return Hospital(tmp_path / "home")


def test_a_whole_study_comes_to_one_chosen_series_and_a_reason_for_each_other(hospital):
    hospital.study()
    for name in SERIES:
        hospital.add(name)
    states = hospital.look()
    assert [key for key, state in states.items() if state == SeriesState.CHOSEN] == ["ser-thin-soft"]
    assert hospital.choice() == ("ser-thin-soft", 1)
    with hospital.node.transaction() as session:
        listed = {row["series_id"]: row for row in views.list_series(session)}
    del listed["ser-thin-soft"]
    assert {row["state"] for row in listed.values()} == {"not_chosen"}
    assert "ser-thin-soft of the same study is analysed" in listed["ser-thick-soft"]["reason"]
    assert listed["ser-localizer"]["reason"] == "it is a localizer (rule 'localizer')"
    assert hospital.row("ser-localizer").reason_code == "excluded_by_rule"


@pytest.mark.parametrize("why", ["not quiet", "a series is on its way"])
def test_the_study_is_waited_for_unless_it_is_stat(why, hospital):
    hospital.study(quiet=why != "not quiet")
    hospital.add("thick soft")
    if why != "not quiet":
        hospital.add("thin soft", SeriesState.RECEIVING)
    assert hospital.look()["ser-thick-soft"] == SeriesState.COMPLETE
    assert hospital.row("ser-thick-soft").score_sheet is None
    hospital.study(quiet=False, stat=True)
    assert hospital.look()["ser-thick-soft"] == SeriesState.CHOSEN


def test_a_better_series_that_comes_later_is_the_next_revision_of_the_choice(hospital):
    hospital.study()
    hospital.add("thick soft")
    hospital.look()
    analysis_id = hospital.hand_over("ser-thick-soft")
    hospital.add("thin soft", SeriesState.RECEIVING)
    assert hospital.look()["ser-thin-soft"] == SeriesState.RECEIVING
    hospital.move("ser-thin-soft", SeriesState.COMPLETE)
    assert hospital.look()["ser-thin-soft"] == SeriesState.CHOSEN
    assert hospital.choice() == ("ser-thin-soft", 2)
    with hospital.node.transaction() as session:
        row = session.get_one(AnalysisRow, analysis_id)
        listed = {row["series_id"]: row for row in views.list_series(session)}
    assert (row.state, row.reason_code) == (AnalysisState.SUPERSEDED, "better_series")
    assert listed["ser-thick-soft"]["state"] == "superseded"
    assert "ser-thin-soft, which came later, is the better series" in listed["ser-thick-soft"]["reason"]


def test_a_later_series_that_is_worse_changes_nothing_but_its_own_row(hospital):
    hospital.study()
    hospital.add("thin soft")
    hospital.look()
    analysis_id = hospital.hand_over("ser-thin-soft")
    hospital.add("thick soft")
    assert hospital.look() == {"ser-thin-soft": SeriesState.HANDED_OVER, "ser-thick-soft": SeriesState.NOT_CHOSEN}
    assert hospital.choice() == ("ser-thin-soft", 1)
    with hospital.node.transaction() as session:
        assert session.get_one(AnalysisRow, analysis_id).state == AnalysisState.QUEUED


def test_a_chosen_series_that_grew_is_chosen_again_without_a_new_choice(hospital):
    hospital.study()
    hospital.add("thin soft")
    hospital.add("thick soft")
    hospital.look()
    hospital.hand_over("ser-thin-soft")
    hospital.move("ser-thin-soft", SeriesState.COMPLETE, revision=2)
    assert hospital.look() == {"ser-thin-soft": SeriesState.CHOSEN, "ser-thick-soft": SeriesState.NOT_CHOSEN}
    assert hospital.choice() == ("ser-thin-soft", 1)
    assert hospital.row("ser-thin-soft").score_sheet["revision"] == 2


def test_a_chosen_series_whose_slices_come_back_is_judged_when_all_of_it_is_there(hospital):
    hospital.study()
    hospital.add("thin soft", first=6)
    hospital.look()
    hospital.hand_over("ser-thin-soft")
    of_the_torso = hospital.row("ser-thin-soft").score_sheet
    hospital.add("thick soft")
    hospital.come_back("ser-thin-soft", 6, 10)
    for _ in range(2):
        assert hospital.look() == {"ser-thin-soft": SeriesState.RECEIVING, "ser-thick-soft": SeriesState.COMPLETE}
    assert hospital.row("ser-thin-soft").score_sheet == of_the_torso
    hospital.come_back("ser-thin-soft", 10, 320)
    hospital.move("ser-thin-soft", SeriesState.COMPLETE)
    assert hospital.look() == {"ser-thin-soft": SeriesState.CHOSEN, "ser-thick-soft": SeriesState.NOT_CHOSEN}
    whole = hospital.row("ser-thin-soft").score_sheet
    assert (whole["revision"], whole["instances"], whole["slices"]) == (2, 320, 320)
    assert whole["total"] > of_the_torso["total"]


def test_stat_takes_what_is_there_and_keeps_no_sheet_of_what_is_still_to_come(hospital):
    hospital.study(quiet=False, stat=True)
    hospital.add("thin soft", first=6)
    hospital.look()
    hospital.hand_over("ser-thin-soft")
    hospital.add("thick soft")
    hospital.come_back("ser-thin-soft", 6, 10)
    assert hospital.look() == {"ser-thin-soft": SeriesState.RECEIVING, "ser-thick-soft": SeriesState.CHOSEN}
    assert hospital.row("ser-thin-soft").score_sheet["revision"] == 1
    hospital.come_back("ser-thin-soft", 10, 320)
    hospital.move("ser-thin-soft", SeriesState.COMPLETE)
    assert hospital.look()["ser-thin-soft"] == SeriesState.CHOSEN
    assert hospital.choice() == ("ser-thin-soft", 3)


def test_a_rule_of_haste_is_asked_of_what_is_complete_while_the_study_waits(tmp_path):
    (tmp_path / "home").mkdir()
    hasty = "[[rule]]\nname = 'haste'\nwhen = { tag = 'SliceThickness', less_than = 2 }\npriority = 'stat'\n"
    (tmp_path / "rules.toml").write_text(SHIPPED.read_text() + hasty)
    hospital = Hospital(tmp_path / "home", rules=str(tmp_path / "rules.toml"))
    hospital.study(quiet=False)
    hospital.add("thick soft")
    assert hospital.look() == {"ser-thick-soft": SeriesState.COMPLETE}
    assert hospital.row("ser-thick-soft").score_sheet["priority"] is None
    assert not hospital.is_stat()
    hospital.add("thin soft")
    assert hospital.look() == {"ser-thick-soft": SeriesState.NOT_CHOSEN, "ser-thin-soft": SeriesState.CHOSEN}
    assert hospital.is_stat()


def test_a_sole_series_that_a_rule_leaves_out_says_so(hospital):
    hospital.study()
    hospital.add("MPR coronal")
    hospital.look()
    row = hospital.row("ser-MPR-coronal")
    assert (row.state, row.reason_code) == (SeriesState.NOT_CHOSEN, "excluded_by_rule")
    assert "it is a reformat (MPR) of another series" in row.reason
    assert "no series of the study passes the rules so far" in row.reason


def test_all_takes_each_complete_series_at_once(tmp_path):
    hospital = Hospital(tmp_path / "all", analyse="all")
    hospital.study(quiet=False)
    for name in ("thin soft", "thick soft", "localizer"):
        hospital.add(name)
    hospital.add("thin lung", SeriesState.RECEIVING)
    assert hospital.look() == {
        "ser-thin-soft": SeriesState.CHOSEN,
        "ser-thick-soft": SeriesState.CHOSEN,
        "ser-localizer": SeriesState.NOT_CHOSEN,
        "ser-thin-lung": SeriesState.RECEIVING,
    }


def test_a_series_of_no_study_is_chosen_at_once(hospital):
    hospital.add("thick soft", study_id=None)
    assert hospital.look() == {"ser-thick-soft": SeriesState.CHOSEN}


def test_files_that_are_gone_keep_no_series_from_its_verdict(hospital):
    hospital.study()
    for file in (hospital.node.home.spool / hospital.add("thin soft")).iterdir():
        file.unlink()
    assert hospital.look() == {"ser-thin-soft": SeriesState.CHOSEN}
    hospital.hand_over("ser-thin-soft")


def test_a_kept_sheet_outlives_the_files_and_is_made_anew_by_other_rules(hospital, tmp_path):
    hospital.study()
    hospital.add("thin soft")
    before = hospital.look_again("ser-thin-soft")
    other = tmp_path / "other.toml"
    other.write_text("[[rule]]\nname = 'all'\nwhen = { tag = 'Modality', present = true }\nscore = 7\n")
    hospital.choosing = Choosing(
        Node(hospital.node.home, Settings(choice=ChoiceSettings(rules=str(other), study_idle_s=60)))
    )
    assert before["total"] != 7
    assert hospital.look_again("ser-thin-soft")["total"] == 7
    for file in (hospital.node.home.spool / "ser-thin-soft").iterdir():
        file.unlink()
    hospital.choosing = Choosing(hospital.node)
    assert hospital.look_again("ser-thin-soft")["total"] == 7


@pytest.fixture
def impatient(hospital, monkeypatch):
    """A hospital that tries again at every look."""
    monkeypatch.setattr(choosing, "_PAUSE_S", 0.0)
    hospital.choosing = Choosing(hospital.node)
    return hospital


def breaking(monkeypatch, name, error):
    """Have the headers of one series fail."""
    real = choosing.facts_of

    def broken(files, keywords):
        if files[0].path.parent.name == name:
            raise error
        return real(files, keywords)

    monkeypatch.setattr(choosing, "facts_of", broken)


def test_a_study_that_fails_stops_no_other_and_ends_where_a_person_sees_it(impatient, monkeypatch):
    impatient.study()
    impatient.study("std-000000000002")
    impatient.add("thin soft")
    impatient.add("thick soft", study_id="std-000000000002")
    breaking(monkeypatch, "ser-thin-soft", RuntimeError(IDENTITY))
    assert impatient.look() == {"ser-thin-soft": SeriesState.COMPLETE, "ser-thick-soft": SeriesState.CHOSEN}
    for _ in range(4):
        states = impatient.look()
    assert states["ser-thin-soft"] == SeriesState.QUARANTINED
    row = impatient.row("ser-thin-soft")
    assert row.reason_code == "choice_failed"
    assert "RuntimeError" in row.reason
    assert IDENTITY not in row.reason


def test_the_series_at_fault_is_quarantined_and_the_rest_of_its_study_goes_on(impatient, monkeypatch):
    impatient.study()
    impatient.add("thin soft")
    impatient.add("thick soft")
    breaking(monkeypatch, "ser-thin-soft", RuntimeError())
    for _ in range(6):
        states = impatient.look()
    assert states == {"ser-thin-soft": SeriesState.QUARANTINED, "ser-thick-soft": SeriesState.CHOSEN}


def test_a_file_that_the_storage_does_not_give_is_tried_for_longer_but_not_for_ever(impatient, monkeypatch):
    impatient.study()
    impatient.add("thin soft")
    path = impatient.node.home.spool / "ser-thin-soft" / "0001.dcm"

    def fail(read, *_):
        if read == path:
            raise OSError(errno.EIO, "Input/output error")
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(facts, "read_header", fail)
    for _ in range(MAX_STORAGE_ATTEMPTS - 1):
        assert impatient.look() == {"ser-thin-soft": SeriesState.COMPLETE}
    assert impatient.look() == {"ser-thin-soft": SeriesState.QUARANTINED}
    row = impatient.row("ser-thin-soft")
    assert row.reason_code == "choice_failed"
    assert "cannot be read from storage (EIO)" in row.reason


def test_a_failed_study_is_left_alone_for_a_while_and_a_database_that_is_away_is_no_fault_of_it(hospital, monkeypatch):
    hospital.study()
    hospital.add("thin soft")
    tries = []

    def failing(files, keywords):
        tries.append(files)
        raise RuntimeError

    monkeypatch.setattr(choosing, "facts_of", failing)
    for _ in range(3):
        hospital.look()
    assert len(tries) == 1
    hospital.choosing = Choosing(hospital.node)

    def away(*_):
        raise TransientError("the database does not answer")

    monkeypatch.setattr(choosing, "facts_of", away)
    for _ in range(9):
        with pytest.raises(TransientError):
            hospital.look()
    assert hospital.states() == {"ser-thin-soft": SeriesState.COMPLETE}


@pytest.mark.parametrize("why", ["not quiet", "failing"])
def test_a_series_that_waits_too_long_for_the_choice_is_reported_once(hospital, monkeypatch, why):
    hospital.study(quiet=why != "not quiet")
    hospital.add("thin soft")
    if why == "failing":
        breaking(monkeypatch, "ser-thin-soft", RuntimeError())
    with capture_logs() as logs:
        hospital.look()
        assert not [log for log in logs if log["event"] == "series_stuck"]
        hospital.move("ser-thin-soft", SeriesState.COMPLETE, state_at=utc_now() - timedelta(seconds=3700))
        for _ in range(3):
            hospital.look()
    (stuck,) = [log for log in logs if log["event"] == "series_stuck"]
    assert (stuck["series_id"], stuck["state"], stuck["age_s"]) == ("ser-thin-soft", "complete", 3700)


def test_rules_that_cannot_be_used_keep_the_node_from_starting(tmp_path):
    with pytest.raises(ConfigurationError, match=r"mine\.toml cannot be read"):
        Hospital(tmp_path / "home", rules="mine.toml")


@pytest.fixture
def run(hospital, monkeypatch):
    """Return a function that runs a command on the hospital's home."""
    home = hospital.node.home
    home.config.write_text("[choice]\nstudy_idle_s = 60\n")
    monkeypatch.setenv("COVNODE_HOME", str(home.root))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(Node, "require_current_database", lambda _node: None)

    def run(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0
        return done.stdout

    return run


def everything(node):
    with node.engine.connect() as connection:
        return {
            table.name: [tuple(map(str, row)) for row in connection.execute(sa.select(table))]
            for table in Base.metadata.sorted_tables
        }


def test_explain_prints_the_sheet_and_what_came_of_it(hospital, run):
    hospital.study()
    hospital.add("thin soft")
    hospital.add("localizer")
    hospital.look()
    said = run("series", "explain", "ser-localizer")
    assert "score: " in said
    assert "left out: it is a localizer (rule 'localizer')" in said
    assert "chosen_series_id: ser-thin-soft" in said
    record = json.loads(run("series", "explain", "ser-thin-soft", "--json"))
    assert (record["state"], record["choice_revision"], record["sheet"]["excluded"]) == ("chosen", 1, None)
    line = next(line for line in record["sheet"]["lines"] if line["rule"] == "thin slices")
    assert line == {"rule": "thin slices", "applies": True, "effect": "+20", "value": "SliceThickness 1"}
    assert "score_sheet" not in json.loads(run("series", "show", "ser-thin-soft", "--json"))


def test_explain_judges_a_series_that_was_not_judged_yet_and_keeps_nothing(hospital, run):
    hospital.study()
    hospital.add("thin soft")
    before = everything(hospital.node)
    assert json.loads(run("series", "explain", "ser-thin-soft", "--json"))["judged"] == "now, by the rules in force"
    assert everything(hospital.node) == before


def test_explain_and_choose_say_what_to_do_about_an_unknown_series(run):
    with pytest.raises(ConfigurationError, match="'covnode series list' lists all"):
        run("series", "explain", "ser-none")
    with pytest.raises(ConfigurationError, match="see 'covnode series list'"):
        run("series", "choose", "ser-none")


def test_a_person_has_a_series_analysed_nevertheless_and_it_stays_the_choice(hospital, run):
    hospital.study()
    hospital.add("thick soft")
    hospital.add("MPR coronal")
    hospital.look()
    hospital.hand_over("ser-thick-soft")
    assert "ser-MPR-coronal will be analysed" in run("series", "choose", "ser-MPR-coronal")
    assert hospital.choice() == ("ser-MPR-coronal", 2)
    assert hospital.row("ser-MPR-coronal").reason is None
    hospital.add("thin soft")
    states = hospital.look()
    assert states["ser-MPR-coronal"] == SeriesState.CHOSEN
    assert states["ser-thin-soft"] == SeriesState.NOT_CHOSEN
    assert "a person chose it" in hospital.row("ser-thin-soft").reason
    assert json.loads(run("series", "explain", "ser-MPR-coronal", "--json"))["sheet"]["by_hand"] is True


@pytest.fixture
def given_way(hospital):
    """A hospital where a better series took the place of one on its way, and was handed over."""
    hospital.study()
    hospital.add("thick soft")
    hospital.look()
    hospital.hand_over("ser-thick-soft")
    hospital.add("thin soft")
    hospital.look()
    return hospital


def test_explain_says_when_the_better_series_came_to_nothing_and_a_person_takes_the_earlier_one(given_way, run):
    hospital = given_way

    def outcome():
        return json.loads(run("series", "explain", "ser-thick-soft", "--json"))["study_came_to_nothing"]

    analysis_id = hospital.hand_over("ser-thin-soft")
    assert outcome() is None
    with hospital.node.transaction() as session:
        row = session.get_one(AnalysisRow, analysis_id)
        row.state, row.reason_code = AnalysisState.NOT_ANALYSED, "slice_missing"
    assert outcome().startswith(
        "ser-thin-soft, which was chosen, could not be analysed (slice_missing), and no other series of the study is"
    )
    assert "ser-thick-soft will be analysed" in run("series", "choose", "ser-thick-soft")
    row = hospital.row("ser-thick-soft")
    assert (row.state, row.revision) == (SeriesState.CHOSEN, 2)
    assert hospital.look()["ser-thick-soft"] == SeriesState.CHOSEN
    assert outcome() is None
    hospital.hand_over("ser-thick-soft")
    assert hospital.choice() == ("ser-thick-soft", 3)


def test_a_better_series_in_quarantine_leaves_a_study_with_nothing_unless_there_is_a_result(given_way, run):
    hospital = given_way
    hospital.move("ser-thin-soft", SeriesState.QUARANTINED, reason_code="burned_in_text")
    said = run("series", "explain", "ser-thin-soft")
    assert "ser-thin-soft, which was chosen, is in quarantine (burned_in_text)" in said
    with hospital.node.transaction() as session:
        session.execute(sa.update(AnalysisRow).values(state=AnalysisState.ANALYSED))
    assert "study_came_to_nothing" not in run("series", "explain", "ser-thin-soft")


def test_a_person_cannot_have_analysed_anew_what_has_not_given_way(hospital, run):
    hospital.study()
    hospital.add("thin soft")
    hospital.look()
    hospital.hand_over("ser-thin-soft")
    with pytest.raises(ConfigurationError, match="neither waits for the choice"):
        run("series", "choose", "ser-thin-soft")
    assert hospital.row("ser-thin-soft").revision == 1


def test_replay_shows_what_other_rules_would_choose_and_changes_no_row(hospital, run, tmp_path):
    hospital.study()
    hospital.study("std-000000000002")
    for name in ("thin soft", "thin lung", "localizer"):
        hospital.add(name)
    hospital.add("sole", study_id="std-000000000002", kind="thick soft")
    hospital.look()
    hospital.hand_over("ser-thin-soft")
    lung = tmp_path / "lung.toml"
    wanted = "[[rule]]\nname = 'lung wanted'\nwhen = { tag = 'ConvolutionKernel', matches = '^B6' }\nscore = 100\n"
    lung.write_text(SHIPPED.read_text() + wanted)
    before = everything(hospital.node)
    replayed = {row["study_id"]: row for row in json.loads(run("rules", "replay", lung, "--json"))}
    assert set(replayed) == {STUDY, "std-000000000002"}
    study = replayed[STUDY]
    assert (study["chosen_now"], study["would_choose"], study["differs"]) == (
        ["ser-thin-soft"],
        ["ser-thin-lung"],
        True,
    )
    assert replayed["std-000000000002"]["differs"] is False
    assert "1 of 2 studies would be chosen otherwise. Nothing was changed." in run("rules", "replay", lung)
    assert "0 of 1 studies" in run("rules", "replay", SHIPPED, "--study", STUDY)
    assert len(json.loads(run("rules", "replay", SHIPPED, "--limit", "1", "--json"))) == 1
    for file in (hospital.node.home.spool / "ser-thin-lung").iterdir():
        file.unlink()
    assert f"{STUDY}: 1 series without readable files" in run("rules", "replay", lung, "--study", STUDY)
    assert everything(hospital.node) == before
    with pytest.raises(ConfigurationError, match="there is no study std-none"):
        run("rules", "replay", SHIPPED, "--study", "std-none")


def test_check_and_show_speak_of_the_rules_in_force(run, tmp_path):
    assert run("rules", "show") == SHIPPED.read_text()
    assert "is valid" in run("rules", "check")
    mine = tmp_path / "mine.toml"
    mine.write_text(run("rules", "show").replace("'^CT_SOM", "'(^CT_SOM"))
    with pytest.raises(ConfigurationError, match="rule 'reconstructed from slices': 'ImageType' matches"):
        run("rules", "check", mine)
