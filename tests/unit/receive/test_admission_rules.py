"""Who may come in, and the figures of PS3.8 Table 9-21 for who may not."""

import pytest
from structlog.testing import capture_logs

from covnode.receive.admission import Admission, AdmissionRules, Rejection
from covnode.receive.slots import AssociationSlots, Slot
from covnode.settings import NodeSettings, ReceiveSettings

HERE = "192.0.2.7"


class Gate:
    reason = None

    def closed_because(self):
        return self.reason


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def admission(tmp_path, gate):
    """Return a function that makes the admission of the settings given."""

    def make(limit=8, per_peer=4, **receive):
        rules = AdmissionRules.of(NodeSettings(ae_title="COVNODE"), ReceiveSettings(**receive))
        return Admission(rules, gate, AssociationSlots(tmp_path / "slots", limit, per_peer))

    return make


def figures(answer):
    assert isinstance(answer, Rejection), answer
    return answer.result, answer.source, answer.reason


def test_by_default_anybody_may_push_to_the_nodes_own_title(admission):
    assert isinstance(admission().admit("COVNODE", "ANY SCANNER", HERE), Slot)


def test_spaces_around_a_title_do_not_count(admission):
    node = admission(calling_ae_titles=("CT1 ",))
    assert isinstance(node.admit("  COVNODE       ", " CT1", HERE), Slot)


@pytest.mark.parametrize("called", ["OTHER", "", "covnode", "COV NODE"])
def test_another_called_title_is_rejected_for_good(admission, called):
    assert figures(admission().admit(called, "CT1", HERE)) == (1, 1, 7)


def test_the_node_answers_to_its_further_titles_too(admission):
    node = admission(called_ae_titles=("RESEARCH",))
    assert isinstance(node.admit("RESEARCH", "CT1", HERE), Slot)
    assert isinstance(node.admit("COVNODE", "CT1", HERE), Slot)
    assert figures(node.admit("*", "CT1", HERE)) == (1, 1, 7)


def test_a_star_answers_to_any_called_title(admission):
    assert isinstance(admission(called_ae_titles=("*",)).admit("WHATEVER", "CT1", HERE), Slot)


def test_a_calling_title_that_is_not_listed_is_rejected_for_good(admission):
    node = admission(calling_ae_titles=("CT1", "CT2"))
    assert figures(node.admit("COVNODE", "CT3", HERE)) == (1, 1, 3)
    assert isinstance(node.admit("COVNODE", "CT2", HERE), Slot)


def test_another_application_context_is_rejected_for_good(admission):
    assert figures(admission().admit("COVNODE", "CT1", HERE, "1.2.840.10008.3.1.1.2")) == (1, 1, 2)


def test_a_closed_gate_rejects_for_now(admission, gate):
    gate.reason = "the database does not answer"
    node = admission()
    with capture_logs() as logs:
        assert figures(node.admit("COVNODE", "CT1", HERE)) == (2, 3, 1)
    assert logs[0]["because"] == gate.reason
    gate.reason = None
    assert isinstance(node.admit("COVNODE", "CT1", HERE), Slot)


def test_a_stranger_is_not_told_to_try_again_when_the_gate_is_closed(admission, gate):
    gate.reason = "the disk is full"
    assert figures(admission(calling_ae_titles=("CT1",)).admit("COVNODE", "CT2", HERE)) == (1, 1, 3)


def test_more_than_all_associations_are_rejected_for_now(admission):
    node = admission(limit=2, per_peer=2)
    slots = [node.admit("COVNODE", title, HERE) for title in ("CT1", "CT2")]
    assert figures(node.admit("COVNODE", "CT3", HERE)) == (2, 3, 2)
    slots[0].release()
    assert isinstance(node.admit("COVNODE", "CT3", HERE), Slot)


def test_one_peer_cannot_take_every_place(admission):
    node = admission(limit=8, per_peer=2)
    slots = [node.admit("COVNODE", title, HERE) for title in ("CT1", "CT1 ")]
    assert figures(node.admit("COVNODE", "CT1", HERE)) == (2, 3, 2)
    assert isinstance(node.admit("COVNODE", "CT2", HERE), Slot)
    slots[1].release()
    assert isinstance(node.admit("COVNODE", "CT1", HERE), Slot)


def test_without_a_place_to_count_nobody_comes_in(admission, tmp_path):
    node = admission()
    (tmp_path / "slots").rmdir()
    assert figures(node.admit("COVNODE", "CT1", HERE)) == (2, 3, 1)


def test_a_rejection_is_logged_with_who_and_why(admission):
    with capture_logs() as logs:
        admission().admit("OTHER", "CT1", HERE)
    [line] = logs
    assert line["event"] == "association_rejected"
    assert line["reason"] == "called-AE-title-not-recognized"
    assert (line["calling"], line["address"]) == ("CT1", HERE)


def test_without_a_list_every_address_may_connect(admission):
    assert admission().admit_address("203.0.113.9")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.3.1", False),
        ("198.51.100.4", True),
        ("198.51.100.5", False),
        ("::ffff:192.0.2.7", True),
        ("::ffff:192.0.3.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
    ],
)
def test_only_listed_addresses_may_connect(admission, address, allowed):
    node = admission(allow_from=("192.0.2.0/24", "198.51.100.4", "2001:db8::/32", "fe80::/10"))
    with capture_logs() as logs:
        assert node.admit_address(address) is allowed
    assert [line["address"] for line in logs] == ([] if allowed else [address])
