"""PostgreSQL stops while an association is open: what comes then is refused for now, and nothing is lost."""

import time
from collections import Counter

import pytest
from dicom_instances import SyntheticSeries
from dicom_sender import SUCCESS, Association, Message, Rejected
from postgresql_server import PostgresqlServer
from processes import covnode, wait_until
from receiving_node import ReceivingNode

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OUT_OF_RESOURCES = 0xA700
REJECTED_TRANSIENT = (2, 3, 1)  # PS3.8 9.3.4: rejected transient, by the provider's presentation, temporary congestion
NOTICED_S = 10.0
SERIES = SyntheticSeries(1, 64)


@pytest.fixture
def postgresql():
    server = PostgresqlServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def node(tmp_path, postgresql):
    node = ReceivingNode(tmp_path / "home")
    node.init()
    node.configure(**{"database.url": postgresql.create_database("covnode")})
    assert covnode("db", "upgrade", "--home", str(node.root)).returncode == 0
    node.start_receiver()
    yield node
    node.stop()


def store(association: Association, instances: range) -> dict[int, int]:
    """Send instances one after the other; return the status of each."""
    message = Message(association, SERIES)
    return {instance: association.store(message.of(instance)) for instance in instances}


def of_status(statuses: dict[int, int], status: int) -> Counter[str]:
    return Counter(SERIES.digest(instance) for instance, found in statuses.items() if found == status)


def store_until_refused(association: Association, first: int) -> dict[int, int]:
    """Go on sending; return the statuses, of which the last is no Success."""
    statuses: dict[int, int] = {}
    deadline_s = time.monotonic() + NOTICED_S
    while SUCCESS in (statuses or {first: SUCCESS}).values() and OUT_OF_RESOURCES not in statuses.values():
        assert time.monotonic() < deadline_s, "the database is away, and instances are taken all the same"
        statuses |= store(association, range(first + len(statuses), first + len(statuses) + 1))
    return statuses


def test_what_comes_while_postgresql_is_away_is_refused_for_now_and_nothing_is_lost(node, postgresql):
    association = node.associate()
    statuses = store(association, range(10))
    assert set(statuses.values()) == {SUCCESS}
    wait_until(lambda: sum(node.recorded().values()) == 10, 30)

    postgresql.stop()
    statuses |= store_until_refused(association, 10)
    statuses |= store(association, range(len(statuses), len(statuses) + 5))
    assert set(list(statuses.values())[-6:]) == {OUT_OF_RESOURCES}
    assert set(statuses.values()) == {SUCCESS, OUT_OF_RESOURCES}
    with pytest.raises(Rejected) as rejected:
        node.associate()
    assert rejected.value.code == REJECTED_TRANSIENT
    assert node.kept() == of_status(statuses, SUCCESS)

    postgresql.start()
    wait_until(node.answers, 60)
    refused = [instance for instance, status in statuses.items() if status == OUT_OF_RESOURCES]
    statuses |= store(association, range(refused[0], len(statuses) + 10))
    association.release()
    assert set(statuses.values()) == {SUCCESS}
    wait_until(lambda: sum(node.recorded().values()) >= len(statuses), 30)
    assert node.recorded() == node.kept() == of_status(statuses, SUCCESS)


def test_a_receiver_that_ends_while_postgresql_is_away_records_what_it_answered_for_at_its_next_start(node, postgresql):
    association = node.associate()
    statuses = store(association, range(5))
    wait_until(lambda: sum(node.recorded().values()) == 5, 30)
    postgresql.stop()
    statuses |= store_until_refused(association, 5)
    node.process.kill()
    node.process.wait(60)
    postgresql.start()
    node.start_receiver()
    answered = of_status(statuses, SUCCESS)
    wait_until(lambda: sum(node.recorded().values()) >= sum(answered.values()), 60)
    assert node.recorded() == node.kept() == answered
