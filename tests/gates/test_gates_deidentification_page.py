"""docs/deidentification.md says what the data of the engine say."""

from dataclasses import replace

from deidentification_page import PAGE, page

from covnode.deidentify.options import Option
from covnode.deidentify.profile import Action, Rule, node_profile
from covnode.wiring.deidentify_profile import OF_THE_NODE


def test_the_page_is_that_of_the_data():
    assert PAGE.read_text() == page(), "write it anew: python tests/deidentification_page.py"


def test_a_rule_that_changes_changes_the_page(monkeypatch):
    usual = node_profile()
    changed = replace(usual, rules={**usual.rules, 0x00100020: Rule(Action.KEEP)})
    monkeypatch.setattr("deidentification_page.node_profile", lambda: changed)
    assert page() != PAGE.read_text()


def test_the_options_of_the_page_are_those_that_copies_can_be_made_under():
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| Basic Application Level")]
    offered = [row for row in rows if row[3] == "Y"]
    assert len(offered) == 1 + len(Option)
    assert len([row for row in offered if row[2] == "ALL"]) == 1 + len(OF_THE_NODE)
