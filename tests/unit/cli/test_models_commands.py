"""``covnode models`` and what doctor says of models: chosen by name, checked before anything is written."""

import json

import pytest
from own_models import WRONGS, own_model, tamper
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.errors import ConfigurationError, CovnodeError, WeightsMismatch
from covnode.home import Home
from covnode.settings import load_settings


@pytest.fixture
def home(run, tmp_path):
    run("init", "--bind", "127.0.0.1", "--port", "11556")
    return Home(tmp_path / "home")


def rows(run, *command):
    return {row["name"]: row for row in json.loads(run("models", "list", "--json", *command))}


def doctor(home):
    result = CliRunner().invoke(app, ["doctor", "--json", "--home", str(home.root)])
    (found,) = [row for row in json.loads(result.stdout) if row["check"] == "models"]
    return found


def test_the_list_says_what_serves(run, home):
    own_model(home.models, "own-severity")
    found = rows(run)
    assert {name: row["serves"] for name, row in found.items()} == {
        "covid-classifier-demo": "active",
        "severity-demo": "active",
        "own-severity": "",
    }
    assert found["own-severity"]["from"] == "installed"
    assert all(len(row["sha256"]) == 64 for row in found.values())


def test_a_model_serves_once_it_is_activated(run, home):
    own_model(home.models, "own-severity", shift=0.1)
    comments = [line for line in home.config.read_text().splitlines() if line.startswith("#")]
    run("models", "shadow", "own-severity")
    assert load_settings(home).worker.shadows == ("own-severity",)
    run("models", "activate", "Own-Severity")
    worker = load_settings(home).worker
    assert (worker.severity, worker.classification, worker.shadows) == ("own-severity", "covid-classifier-demo", ())
    assert [line for line in home.config.read_text().splitlines() if line.startswith("#")] == comments
    assert rows(run)["own-severity"]["serves"] == "active"
    run("models", "activate", "density")
    assert load_settings(home).worker.lungs == "density"


def test_a_task_has_one_shadow_which_is_another_model(run, home):
    for name, shipped in (("one", "severity-demo"), ("two", "severity-demo"), ("three", "covid-classifier-demo")):
        own_model(home.models, name, shipped)
        run("models", "shadow", name)
    assert load_settings(home).worker.shadows == ("two", "three")
    assert rows(run)["two"]["serves"] == "shadow"
    with pytest.raises(ConfigurationError, match="serves severity itself"):
        run("models", "shadow", "severity-demo")
    run("models", "shadow", "two", "--off")
    assert load_settings(home).worker.shadows == ("three",)
    with pytest.raises(ConfigurationError, match="no shadow"):
        run("models", "shadow", "two", "--off")


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_is_wrong_with_a_model_is_said_and_it_is_neither_activated_nor_a_shadow(run, home, tmp_path, wrong):
    trap = tmp_path / "ran"
    wrong(own_model(home.models, "own-severity"), trap)
    before = home.config.read_text()
    for command in ("activate", "shadow"):
        with pytest.raises(CovnodeError, match=WRONGS[wrong]):
            run("models", command, "own-severity")
    assert home.config.read_text() == before
    verified = CliRunner().invoke(app, ["models", "verify", "--json", "--home", str(home.root)])
    assert verified.exit_code == 1
    verdicts = {row["model"]: row for row in json.loads(verified.stdout)}
    assert [name for name, row in verdicts.items() if not row["ok"]] == ["own-severity"]
    assert WRONGS[wrong] in verdicts["own-severity"]["verdict"]
    found = doctor(home)
    assert not found["ok"]
    assert "own-severity" in found["finding"]
    assert WRONGS[wrong] in found["finding"]
    assert not trap.exists()


def test_doctor_says_what_serves_and_what_the_settings_name_in_vain(run, home):
    own_model(home.models, "own-severity")
    run("models", "shadow", "own-severity")
    assert doctor(home) == {
        "check": "models",
        "ok": True,
        "finding": "3 verified; lungs: density, classification: covid-classifier-demo, severity: severity-demo; "
        "shadows: own-severity",
    }
    run("config", "set", "worker.lungs", "r231covidweb")
    found = doctor(home)
    assert not found["ok"]
    assert "covnode models install r231covidweb" in found["finding"]


def test_a_refused_model_is_listed_with_its_reason(run, home, tmp_path):
    tamper(own_model(home.models, "own-severity"), tmp_path)
    assert "sha256" in rows(run)["own-severity"]["refused"]
    with pytest.raises(WeightsMismatch):
        run("models", "show", "own-severity")


def test_the_card_and_the_metadata_are_shown_also_without_a_node(run, tmp_path):
    assert run("models", "card", "severity-demo").startswith(
        "# severity-demo\n\n**Demonstration, not for clinical use.**"
    )
    shown = json.loads(run("models", "show", "Severity-Demo", "--json"))
    assert shown["covnode"]["task"] == "severity"
    assert shown["network"] == {
        "name": "densenet3d",
        "arguments": {"init_features": 16, "growth_rate": 8, "block_config": [2, 3, 4]},
    }
    assert shown["as_shadow"] == []
    with pytest.raises(ConfigurationError, match="there is no model nothing"):
        run("models", "card", "nothing")


def test_a_name_that_leads_elsewhere_is_none(run, home, tmp_path):
    own_model(tmp_path, "elsewhere")
    with pytest.raises(ConfigurationError, match="there is no model"):
        run("models", "activate", "../../elsewhere")
    with pytest.raises(ConfigurationError, match="no name of a model"):
        run("models", "install", "../elsewhere", "--from", tmp_path / "elsewhere")
    assert [path.name for path in home.root.glob("elsewhere*")] == []
    with pytest.raises(ConfigurationError):
        run("config", "set", "worker.severity", "../../elsewhere")


def test_what_cannot_be_installed_is_told(run, home, tmp_path):
    with pytest.raises(ConfigurationError, match="r231covidweb"):
        run("models", "install", "r232", "--from", tmp_path / "none.pth")
    own_model(tmp_path, "own-severity")
    run("models", "install", "own-severity", "--from", tmp_path / "own-severity")
    assert rows(run)["own-severity"]["from"] == "installed"
