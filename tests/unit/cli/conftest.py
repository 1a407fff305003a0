"""What tests of the command line share: a command on a home of its own."""

import pytest
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.errors import CovnodeError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command on a home of its own and gives its stdout."""
    monkeypatch.setenv("COVNODE_HOME", str(tmp_path / "home"))

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(result.exception, CovnodeError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run
