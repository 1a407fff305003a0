"""A report is given until it is taken or its time is over; no request vanishes silently, none delays another peer."""

import threading

import pytest
from commitment_cases import DIGEST, ask, node_with, put_instance
from processes import wait_until

from covnode.errors import DeliveryRefused, TransientError
from covnode.receive.commitment_report import read_report, report_file
from covnode.records.arrival import CommitmentAsked
from covnode.wiring.commitments import Commitments


class FakeSender:
    """Takes what is sent to the peers that are there."""

    def __init__(self):
        self.away = {}
        self.tried = []
        self.taken = []

    def __call__(self, calling_ae_title, peer, report):
        self.tried.append((peer.ae_title, report.transaction_uid))
        if peer.ae_title in self.away:
            raise self.away[peer.ae_title]
        self.taken.append((calling_ae_title, peer.ae_title, report))


@pytest.fixture
def sender():
    return FakeSender()


@pytest.fixture
def begin():
    """Return a function that runs commitments on a thread until the test ends."""
    stopping = threading.Event()
    threads = []

    def begin(node, sender, **options):
        commitments = Commitments(node, DIGEST, send=sender, **options)
        threads.append(threading.Thread(target=commitments.run, args=(stopping,)))
        threads[-1].start()
        return commitments

    yield begin
    stopping.set()
    for thread in threads:
        thread.join()


def files(node):
    return sorted(str(path.relative_to(node.home.commitments)) for path in node.home.commitments.rglob("com-*.json"))


def test_a_request_ends_with_the_report_that_its_peer_takes(tmp_path, database_url, sender, begin):
    node = node_with(tmp_path, database_url, peers=("OTHER", "SCANNER"))
    put_instance(node, "1.1")
    begin(node, sender).put(CommitmentAsked("assoc-1", ask(node, "1.1")))
    wait_until(lambda: sender.taken and not files(node), 20)
    ((ours, peer, report),) = sender.taken
    assert (ours, peer, len(report.stored), report.failed) == ("COVNODE", "SCANNER", 1, ())


def test_what_lies_in_the_folder_at_the_start_is_taken_up(tmp_path, database_url, sender, begin):
    node = node_with(tmp_path, database_url)
    name = ask(node, "1.1")
    begin(node, sender).put(CommitmentAsked("assoc-1", name))
    wait_until(lambda: not files(node), 20)
    assert [report.transaction_uid for _ours, _peer, report in sender.taken] == ["1.2.99"]


@pytest.mark.parametrize("why", [TransientError("away"), DeliveryRefused("no", code="x")])
def test_a_peer_that_does_not_take_the_report_gets_it_later_and_delays_no_other(
    why, tmp_path, database_url, sender, begin
):
    node = node_with(tmp_path, database_url, peers=("SCANNER", "OTHER"), retry_s=0.5)
    sender.away["SCANNER"] = why
    for transaction in ("1.1", "1.2"):
        ask(node, "9.9", transaction=transaction)
    ask(node, "9.9", ae_title="OTHER", transaction="1.3")
    begin(node, sender)
    wait_until(lambda: len(sender.tried) >= 4, 20)
    assert [report.transaction_uid for _ours, _peer, report in sender.taken] == ["1.3"]
    assert len(files(node)) == 2
    # The second of a peer that is away is not tried before the first was taken.
    assert ("SCANNER", "1.2") not in sender.tried
    sender.away.clear()
    wait_until(lambda: not files(node), 20)
    assert {report.transaction_uid for _ours, _peer, report in sender.taken} == {"1.1", "1.2", "1.3"}


def test_a_request_whose_time_is_over_is_kept_where_a_person_finds_it(tmp_path, database_url, sender, begin):
    node = node_with(tmp_path, database_url, give_up_after_s=60)
    sender.away["SCANNER"] = TransientError("away")
    name = ask(node, "1.1", asked_s_ago=61)
    begin(node, sender)
    wait_until(lambda: files(node) == [f"given-up/{name}"], 20)
    assert len(sender.tried) == 1


def test_a_file_that_was_cut_short_is_put_aside(tmp_path, database_url, sender, begin):
    node = node_with(tmp_path, database_url)
    (node.home.commitments / "com-0.json").write_text('{"calling')
    begin(node, sender)
    wait_until(lambda: files(node) == ["given-up/com-0.json"], 20)


class Doors:
    """The doors' side of a report on the same association."""

    def __init__(self, node, *, is_open):
        self.node = node
        self.is_open = is_open
        self.asked = []

    def __call__(self, association_id, file_name):
        self.asked.append((association_id, file_name))
        if self.is_open:
            path = self.node.home.commitments / file_name
            self.report = read_report(report_file(path))
            path.unlink()  # as CommitmentScp does once the peer has taken it
            report_file(path).unlink()
        return self.is_open


def test_an_ae_that_is_no_peer_gets_the_report_on_its_own_association(tmp_path, database_url, sender, begin):
    node = node_with(tmp_path, database_url, peers=("OTHER",), retry_s=0.3)
    put_instance(node, "1.1")
    doors = Doors(node, is_open=True)
    name = ask(node, "1.1")
    begin(node, sender, ask_door=doors)
    wait_until(lambda: not files(node), 20)
    assert (doors.asked, sender.tried) == ([("assoc-1", name)], [])
    assert len(doors.report.stored) == 1


def test_a_peer_that_is_away_gets_the_report_on_the_association_that_it_keeps_open(
    tmp_path, database_url, sender, begin
):
    node = node_with(tmp_path, database_url, retry_s=0.3)
    sender.away["SCANNER"] = TransientError("away")
    ask(node, "1.1")
    begin(node, sender, ask_door=Doors(node, is_open=True))
    wait_until(lambda: not files(node), 20)


def test_without_any_way_the_request_is_kept_until_its_time_is_over(tmp_path, database_url, sender, begin):
    node = node_with(tmp_path, database_url, peers=(), retry_s=0.1, give_up_after_s=2)
    doors = Doors(node, is_open=False)
    name = ask(node, "1.1")
    begin(node, sender, ask_door=doors)
    wait_until(lambda: doors.asked, 20)
    wait_until(lambda: files(node) == [f"given-up/{name}"], 20)
    assert len(doors.asked) == 2
