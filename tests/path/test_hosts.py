"""Two hosts on one PostgreSQL and one folder of files: each series once, also when one host is killed in the middle.

`make soak-hosts` runs the same with 200 series.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest
import sqlalchemy as sa
from network import network_of
from postgresql_server import PostgresqlServer
from processes import wait_until
from two_hosts import TwoHosts, processes_below, series_like

from covnode.cli.local_node import LOOPBACK, StandInPacs
from covnode.clock import utc_now
from covnode.errors import TransientError
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import AnalysisState
from covnode.store.tables import AnalysisRow, SeriesRow

SERIES = int(os.environ.get("COVNODE_TEST_SERIES", "12"))
PATIENCE_S = 100 + 5 * SERIES

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(200 + 2 * PATIENCE_S)]


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    write_phantom(make_phantom(PhantomPreset.COVID_SEVERE, slices=12, seed=3, size=64), folder)
    return folder


@pytest.fixture
def network():
    with network_of(2) as network:
        yield network


@pytest.fixture
def pacs(tmp_path, network):
    stand_in = StandInPacs(tmp_path / "pacs", host=network.address)
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def hosts(tmp_path, network, pacs):
    server = PostgresqlServer(network.address)
    server.start()
    with ExitStack() as after:
        after.callback(server.remove)
        after.callback(server.stop)
        both = TwoHosts(tmp_path, server, pacs, network)
        after.callback(both.stop)
        for host in both.hosts:
            host.start()
        yield both


def test_each_host_has_a_network_of_its_own_or_the_test_says_why_not(network, record_property):
    report(record_property, network=network.kind)
    if network.address == LOOPBACK:
        pytest.skip(network.kind)
    own, other = network.places
    listening = "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); s.accept()"
    server = subprocess.Popen([*other.within, sys.executable, "-c", listening], stdout=subprocess.PIPE, text=True)
    port = server.stdout.readline().strip()
    calling = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    ask = [*own.within, sys.executable, "-c", calling]
    answers = [
        subprocess.run([*ask, where, port], stderr=subprocess.DEVNULL, check=False).returncode
        for where in (LOOPBACK, own.address, other.address)
    ]
    server.communicate(timeout=10)
    assert answers == [1, 1, 0]


@pytest.fixture
def push(hosts, template, tmp_path):
    """Return a function that pushes series in turn to the hosts that run, and tries again where one does not answer."""

    def push(numbers):
        for number in numbers:
            files = series_like(template, tmp_path / f"series-{number}", number)
            wait_until(lambda n=number, files=files: _pushed(hosts, n, files), 60)

    def _pushed(hosts, number, files):
        running = [host for host in hosts.hosts if host.process is not None]
        try:
            running[number % len(running)].push_files(files)
        except TransientError:
            return False
        return True

    return push


@pytest.fixture
def push_long(hosts, tmp_path):
    """Return a function that pushes a series whose analysis takes long enough to be killed in the middle."""

    def push():
        phantom = make_phantom(PhantomPreset.COVID_SEVERE, slices=120, seed=3, size=256)
        write_phantom(phantom, tmp_path / "long")
        hosts.hosts[0].push_files(sorted((tmp_path / "long").glob("*.dcm")))

    return push


def report(record_property, **figures):
    for name, value in figures.items():
        print(f"{name}: {value}")  # noqa: T201 (what a run with -s is for)
        record_property(name, value)


def test_two_hosts_analyse_and_deliver_each_series_once(hosts, push, record_property):
    started_s = time.monotonic()
    push(range(SERIES))
    wait_until(lambda: hosts.has_delivered(SERIES), PATIENCE_S)
    taken_s = time.monotonic() - started_s
    hosts.assert_each_once(SERIES)
    attempts = hosts.rows(sa.select(AnalysisRow.attempts, AnalysisRow.executor_id))
    assert {attempt for attempt, _ in attempts} == {1}
    assert len(hosts.heard) == 2 * SERIES, "sent twice"
    assert {revision for (revision,) in hosts.rows(sa.select(SeriesRow.revision))} == {1}
    by_worker = Counter(executor for _, executor in attempts)
    assert by_worker.keys() == {host.executor("worker") for host in hosts.hosts}
    received = Counter(receiver for (receiver,) in hosts.rows(sa.select(SeriesRow.receiver)))
    assert received == Counter(hosts.hosts[n % 2].executor("receiver") for n in range(SERIES))
    figures = {"seconds": round(taken_s), "by_worker": sorted(by_worker.values())}
    report(record_property, network=hosts.network.kind, series=SERIES, **figures)


def test_a_host_that_is_killed_in_the_middle_loses_nothing(hosts, push, record_property):
    doomed, _other = hosts.hosts
    pushing = threading.Thread(target=push, args=(range(SERIES),))
    pushing.start()
    half = SERIES // 2
    wait_until(lambda: hosts.count(AnalysisRow) >= half and hosts.count(AnalysisRow, state="running"), PATIENCE_S)
    doomed.kill()
    killed_s = time.monotonic()
    pushing.join()
    open_then = SERIES - hosts.count(AnalysisRow, state=AnalysisState.ANALYSED)
    wait_until(lambda: hosts.has_delivered(SERIES), PATIENCE_S)
    hosts.assert_each_once(SERIES)
    assert {state for (state,) in hosts.rows(sa.select(SeriesRow.state))} == {"handed_over"}
    again = Counter(attempts for (attempts,) in hosts.rows(sa.select(AnalysisRow.attempts)))
    assert set(again) <= {1, 2}
    twice = len(hosts.heard) - len(set(hosts.heard))
    assert twice <= 2 * 4, "only what was on its way when the host was killed may be sent again, under the same UID"
    report(
        record_property,
        network=hosts.network.kind,
        series=SERIES,
        open_when_killed=open_then,
        seconds_after_the_kill=round(time.monotonic() - killed_s),
        analyses_begun_again=again[2],
        objects_sent_again=twice,
    )


def began(hosts, attempt):
    """Return since when, and by whom, the one analysis is running in that attempt; None before."""
    query = sa.select(AnalysisRow.state_at, AnalysisRow.executor_id).where(
        AnalysisRow.attempts == attempt, AnalysisRow.state == AnalysisState.RUNNING
    )
    return next(iter(hosts.rows(query)), None)


def analysing(hosts):
    """Wait until the series is being analysed; return the host that does it."""
    wait_until(lambda: began(hosts, 1), 60)
    _, executor = began(hosts, 1)
    return next(host for host in hosts.hosts if host.executor("worker") == executor)


def kill_and_wait(hosts, worker):
    """Kill a worker and its child; return after how long the analysis is running again, and by whom."""
    killed_at = utc_now()
    for pid in processes_below(worker):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: began(hosts, 2), 30)
    again_at, executor = began(hosts, 2)
    return (again_at - killed_at).total_seconds(), executor


@pytest.mark.alone
def test_a_killed_workers_analysis_runs_again_on_the_same_supervisor_in_under_3_s(hosts, push_long, record_property):
    host, other = hosts.hosts
    other.stop()  # its idle worker would be first
    push_long()
    wait_until(lambda: began(hosts, 1), 60)
    took_s, executor = kill_and_wait(hosts, host.pid_of("work"))
    report(record_property, same_supervisor_s=round(took_s, 1))
    assert executor == host.executor("worker")
    assert took_s < 3.0


@pytest.mark.alone
def test_a_killed_workers_analysis_runs_again_on_another_worker_in_under_12_s(hosts, push_long, record_property):
    push_long()
    host = analysing(hosts)
    os.kill(host.process.pid, signal.SIGSTOP)  # so that the supervisor starts none in its place
    try:
        took_s, executor = kill_and_wait(hosts, host.pid_of("work"))
    finally:
        os.kill(host.process.pid, signal.SIGCONT)
    report(record_property, another_worker_s=round(took_s, 1))
    assert executor != host.executor("worker")
    assert took_s < 12.0
