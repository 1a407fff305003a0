"""docs/deidentification.md says what the data of the engine say."""

from deidentification_page import PAGE, page

from covnode.deidentify import profile
from covnode.deidentify.profile import Action, Rule


def test_the_page_is_that_of_the_data():
    assert PAGE.read_text() == page(), "write it anew: python tests/deidentification_page.py"


def test_a_rule_that_changes_changes_the_page(monkeypatch):
    changed = profile.rules() | {0x00100020: Rule(Action.KEEP)}
    monkeypatch.setattr("deidentification_page.rules", lambda: changed)
    assert page() != PAGE.read_text()


def test_the_options_of_the_page_are_those_that_the_copies_state():
    applied = [line for line in page().splitlines() if line.endswith("| ALL | Y | Y | N |")]
    assert len(applied) == len(profile.METHOD_CODES)
