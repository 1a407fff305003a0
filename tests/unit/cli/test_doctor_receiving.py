"""The doctor's look at what the receiving side has open: ports, associations, requests for commitment."""

import pytest

from covnode.cli.doctor import _associations, _commitments, _port_checks
from covnode.home import Home
from covnode.receive.slots import AssociationSlots
from covnode.settings import ReceiveSettings, Settings, StowSettings, TlsSettings
from covnode.wiring.node import Node


@pytest.fixture
def node(tmp_path):
    node = Node(Home(tmp_path), Settings())
    node.home.commitments.mkdir(parents=True)
    node.home.locks.mkdir()
    return node


def test_every_port_that_is_open_is_looked_at_and_no_other():
    everything = Settings(tls=TlsSettings(enabled=True), stow=StowSettings(enabled=True))
    assert list(_port_checks(everything)) == ["port", "port with TLS", "port of STOW-RS"]
    assert list(_port_checks(Settings())) == ["port"]
    tls_alone = Settings(receive=ReceiveSettings(enabled=False), tls=TlsSettings(enabled=True))
    assert list(_port_checks(tls_alone)) == ["port with TLS"]


def test_the_associations_that_are_open_are_counted(node):
    assert _associations(node) == "0 of 32 open"
    slots = AssociationSlots(node.home.associations, 32, 16)
    held = [slots.take("CT1") for _ in range(3)]
    assert _associations(node) == "3 of 32 open"
    held[0].release()
    assert _associations(node) == "2 of 32 open"


def test_requests_that_nobody_took_the_report_of_are_named(node):
    assert _commitments(node) == "0 wait for their report, 0 given up"
    given_up = node.home.commitments / "given-up"
    given_up.mkdir()
    for path in (given_up / "com-1.json", given_up / "com-2.json", node.home.commitments / "com-3.json"):
        path.write_text("{}")
    (node.home.commitments / "com-3.report").write_text("{}")
    assert _commitments(node).startswith(f"1 wait for their report, 2 given up: they lie in {given_up}")
