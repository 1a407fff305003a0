"""An error that nobody caught is a line of the log with its kind alone: its message may quote a value."""

import json
import subprocess
import sys

import pytest

DYING = {
    "thread": """
import threading
from covnode.logs import configure_logs
configure_logs("INFO", "test")
def fail(): raise ValueError("DOE^JANE")
thread = threading.Thread(target=fail, name="watchdog")
thread.start()
thread.join()
""",
    "process": """
from covnode.logs import configure_logs
configure_logs("INFO", "test")
raise ValueError("DOE^JANE")
""",
}


@pytest.mark.parametrize(("dying", "name", "exit_code"), [("thread", "watchdog", 0), ("process", "MainThread", 1)])
def test_what_dies_leaves_a_line_without_the_message(dying, name, exit_code):
    done = subprocess.run([sys.executable, "-c", DYING[dying]], capture_output=True, text=True, check=False)
    assert done.returncode == exit_code
    (line,) = done.stderr.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["error"], logged["thread"]) == ("uncaught_error", "ValueError", name)
    assert "JANE" not in done.stderr


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_an_end_that_was_asked_for_is_no_error(kind):
    script = DYING["process"].replace('ValueError("DOE^JANE")', kind)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
