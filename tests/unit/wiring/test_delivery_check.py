"""What counts of a series after it was complete: the same for the intake, the choice and the sender."""

import pytest
from arriving import arrived
from msgspec.structs import replace
from vault_keys import GrowingKeys

from covnode.clock import utc_now
from covnode.home import Home
from covnode.records.job import DeliveryClaim
from covnode.settings import Settings
from covnode.store import arrivals, series
from covnode.store.sealing import Seals
from covnode.store.vault import IdentityVault
from covnode.wiring import sender
from covnode.wiring.intake import IntakeInStore
from covnode.wiring.node import Node
from covnode.wiring.sender import DeliveryStages


@pytest.fixture
def node(tmp_path, database_url):
    node = Node(Home(tmp_path), Settings.model_validate({"database": {"url": database_url}}))
    yield node
    node.engine.dispose()


def test_a_late_slice_that_is_ignored_is_neither_taken_in_nor_held_against_the_delivery(node, monkeypatch):
    with node.transaction() as session:
        series_id = arrivals.record(session, [arrived(1), arrived(2)], "ignore")[0]
        series.mark_complete(session, series_id, 1, "why")
    again = replace(arrived(2), content_digest="other", file_name="series/other.dcm")
    with node.transaction() as session:
        arrivals.record(session, [again, arrived(3)], "ignore")
    checked = []
    monkeypatch.setattr(sender, "load_result", lambda _folder: type("Stored", (), {"result": None}))
    monkeypatch.setattr(sender, "load_masks", lambda _path: None)
    monkeypatch.setattr(sender, "check_delivery", lambda _objects, **known: checked.extend(known["originals"]))
    vault = IdentityVault(Seals(GrowingKeys()))
    claim = DeliveryClaim("del-1", "ana-1", series_id, 1, "pacs", 1, 1, utc_now(), frozenset())
    DeliveryStages(node, vault).check(claim, {})
    taken = IntakeInStore(node, vault).received(series_id).instances
    assert [path.name for path in checked] == ["1.dcm", "2.dcm"]
    assert [instance.path for instance in taken] == checked
