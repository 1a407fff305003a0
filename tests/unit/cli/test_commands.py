import json

import pytest
import tomlkit
from arriving import arrived
from queued_deliveries import queue_delivery
from typer.main import get_command
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.records.job import AnalysisState, DeliveryState
from covnode.records.series import DeidentifiedSeries
from covnode.settings import load_settings
from covnode.store import analyses, arrivals, deliveries, destinations
from covnode.wiring.node import open_node


@pytest.fixture
def home(run, tmp_path):
    run("init", "--bind", "127.0.0.1", "--port", "11555")
    return Home(tmp_path / "home")


def all_commands(group=None, path=()):
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), all_commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_help_with_an_example_of_itself(path, command):
    assert f"Example: `covnode {' '.join(path)}" in command.help


def test_init_makes_a_private_home_that_works(run, home):
    settings = load_settings(home)
    assert (settings.receive.bind, settings.receive.port) == ("127.0.0.1", 11555)
    assert home.keys.stat().st_mode & 0o777 == 0o600
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in home.folders)
    assert "as this release needs" in run("db", "check")
    with pytest.raises(ConfigurationError, match="exists already"):
        run("init")


def test_every_key_of_the_file_is_explained(home):
    lines = home.config.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line]
    assert len(keys) > 10
    assert all(lines[number - 1].startswith("#") for number in keys)


def test_set_keeps_comments_and_get_reads_it_back(run, home):
    comments = [line for line in home.config.read_text().splitlines() if line.startswith("#")]
    run("config", "set", "receive.port", "104")
    assert run("config", "get", "receive.port").strip() == "104"
    assert [line for line in home.config.read_text().splitlines() if line.startswith("#")] == comments
    assert json.loads(run("config", "show", "--json"))["receive"]["port"] == 104


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("receive.port", "99999", "receive.port"),
        ("receive.prot", "104", "receive.prot"),
        ("receive.port", "many", "receive.port"),
        ("port", "104", "section.key"),
    ],
)
def test_nothing_invalid_is_ever_written(run, home, key, value, named):
    before = home.config.read_text()
    with pytest.raises(ConfigurationError, match=named):
        run("config", "set", key, value)
    assert home.config.read_text() == before


def test_the_environment_overrides_the_file(run, home, monkeypatch):
    monkeypatch.setenv("COVNODE__RECEIVE__PORT", "4242")
    assert run("config", "get", "receive.port").strip() == "4242"
    monkeypatch.setenv("COVNODE__RECEIVE__NONSENSE", "1")
    with pytest.raises(ConfigurationError, match=r"receive\.nonsense"):
        run("config", "check")


def test_peers_are_added_listed_and_removed(run, home):
    run("peer", "add", "pacs", "PACS@192.0.2.10:104", "--deliver")
    (peer,) = json.loads(run("peer", "list", "--json"))
    assert peer == {
        "name": "pacs",
        "ae_title": "PACS",
        "host": "192.0.2.10",
        "port": 104,
        "deliver": True,
        "count_by_find": False,
        "accept_demonstration": False,
        "away_since": None,
        "next_probe_at": None,
        "last_error": None,
        "waiting": 0,
        "parked": 0,
    }
    with pytest.raises(ConfigurationError, match="already"):
        run("peer", "add", "pacs", "PACS@192.0.2.10:104")
    run("peer", "remove", "pacs")
    assert json.loads(run("peer", "list", "--json")) == []
    tomlkit.parse(home.config.read_text())


@pytest.mark.parametrize("address", ["PACS", "PACS@host", "PACS@host:port", "@host:104", "PACS@:104"])
def test_an_address_of_another_form_is_refused(run, home, address):
    with pytest.raises(ConfigurationError, match="AE@HOST:PORT"):
        run("peer", "add", "pacs", address)


@pytest.mark.parametrize(
    "command",
    [
        ("init", "--home", "other", "--ae-title", "TOO-LONG-AE-TITLE"),
        ("init", "--home", "other", "--port", "99999"),
        ("config", "set", "node.ae_title", r"A\B"),
        ("peer", "add", "my pacs", "PACS@192.0.2.10:104"),
        ("push", ".", "--to", "TOO-LONG-AE-TITLE@192.0.2.10:104"),
    ],
    ids=" ".join,
)
def test_a_value_that_cannot_be_is_refused_by_name(run, home, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError):
        run(*command)
    assert not (tmp_path / "other").exists()


def test_a_calling_ae_title_with_brackets_is_shown_as_it_is(run, home):
    node = open_node(home)
    with node.transaction() as session:
        arrivals.record(session, [arrived(source_ae_title="[/CT01]")], "amend")
    assert "[/CT01]" in run("series", "list")


def test_a_file_that_is_no_toml_is_named(run, home):
    home.config.write_text("[receive\nport = 1")
    for command in (("config", "set", "receive.port", "104"), ("config", "show")):
        with pytest.raises(ConfigurationError, match="not valid TOML"):
            run(*command)


def test_what_does_not_exist_is_named(run, home):
    for command in (
        ["series", "show", "ser-x"],
        ["jobs", "show", "ana-x"],
        ["jobs", "retry", "del-x"],
        ["models", "show", "x"],
    ):
        with pytest.raises(ConfigurationError, match=command[-1]):
            run(*command)


def test_a_home_that_was_not_made_says_how_to_make_it(run):
    with pytest.raises(ConfigurationError, match="covnode init"):
        run("config", "check")


@pytest.fixture
def parked(run, home):
    """The ids of two parked deliveries, to pacs and to the archive, and of an analysis that failed."""
    run("peer", "add", "pacs", "PACS@127.0.0.1:1", "--deliver")
    node = open_node(home)
    ids = []
    for destination in ("pacs", "archive"):
        with node.transaction() as session:
            ids.append(queue_delivery(session, destination, destination, destination).subject_id)
            held = deliveries.claim(session, ids[-1], 1, "host:sender-0")
            deliveries.mark_ended(session, held, DeliveryState.BLOCKED, "A900", "it refuses the object (A900)")
    with node.transaction() as session:
        (series_id,) = arrivals.record(session, [arrived(name="bad")], "amend")
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
        held = analyses.claim(session, job.subject_id, 1, "host:worker-0")
        analyses.mark_ended(session, held, AnalysisState.FAILED, "given_up", "given up")
    yield [*ids, job.subject_id]
    node.engine.dispose()


def dead_letters(run):
    return {row["job_id"]: row["reason"] for row in json.loads(run("jobs", "list", "--dead", "--json"))}


def test_dead_letters_are_listed_one_a_job_with_their_reason_and_queued_again(run, parked):
    assert set(dead_letters(run)) == set(parked)
    assert dead_letters(run)[parked[0]] == "it refuses the object (A900)"
    assert "1 jobs are queued again" in run("jobs", "retry", "--all-dead", "--destination", "archive")
    assert set(dead_letters(run)) == {parked[0], parked[2]}
    assert "2 jobs are queued again" in run("jobs", "retry", "--all-dead")
    assert dead_letters(run) == {}
    assert {row["state"] for row in json.loads(run("jobs", "list", "--json"))} >= {"queued"}


@pytest.mark.parametrize(
    "wrong", [[], ["del-1", "--all-dead"], ["--destination", "pacs"], ["del-1", "--destination", "pacs"]]
)
def test_one_id_or_all_dead_letters_and_nothing_between(home, wrong):
    result = CliRunner().invoke(app, ["jobs", "retry", *wrong])
    assert result.exit_code == 2
    assert "--all-dead" in result.output


def test_the_doctor_counts_dead_letters_and_says_of_a_peer_that_it_is_away(home, parked):
    node = open_node(home)
    with node.transaction() as session:
        destinations.note_failure(session, "pacs", "pacs does not answer", 1, lambda _failures: 60.0)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    found = {row["check"]: row for row in json.loads(result.stdout)}
    assert found["dead letters"]["ok"] is found["peer pacs"]["ok"] is False
    assert "1 analyses failed and 2 deliveries are parked" in found["dead letters"]["finding"]
    assert "away since" in found["peer pacs"]["finding"]


def test_a_peer_that_is_away_is_shown_and_tried_again_by_hand(run, parked, home):
    with open_node(home).transaction() as session:
        destinations.note_failure(session, "pacs", "pacs does not answer", 1, lambda _failures: 60.0)
    (peer,) = json.loads(run("peer", "list", "--json"))
    assert (peer["last_error"], peer["waiting"], peer["parked"]) == ("pacs does not answer", 0, 1)
    assert peer["away_since"] < peer["next_probe_at"]
    run("peer", "retry", "pacs")
    (peer,) = json.loads(run("peer", "list", "--json"))
    assert peer["away_since"] is None
    with pytest.raises(ConfigurationError, match="no peer"):
        run("peer", "retry", "nobody")
