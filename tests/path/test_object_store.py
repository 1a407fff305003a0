"""Hosts that share no file system: an S3 server hands copies and results over, also one that is away for a while."""

import json
import os
import subprocess
from contextlib import ExitStack

import pytest
import sqlalchemy as sa
from object_store_server import ACCESS_KEY, SECRET_KEY, ObjectStoreServer
from postgresql_server import PostgresqlServer
from processes import NodeUnderTest, covnode, received, wait_until
from test_no_identity_leaks import SENTINELS, leaks, plant

from covnode.cli.local_node import covnode_command
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.store.tables import AnalysisRow, DeliveryRow, ExecutorRow, SeriesRow

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


class Host(NodeUnderTest):
    """A home without files of anybody else, whose roles a test starts one by one."""

    def __init__(self, root, stack):
        super().__init__(root)
        self._stack = stack

    def run(self, role):
        """Start one role, for as long as the test lasts or until `end`."""
        log = self._stack.enter_context(self.log.open("ab"))
        process = subprocess.Popen(covnode_command(role, "--home", str(self.root)), stdout=log, stderr=log)
        self._stack.callback(self.end, process)
        return process

    def receive(self):
        process = self.run("receive")
        wait_until(self.listens, 60)
        return process

    @staticmethod
    def end(process):
        process.terminate()
        process.wait(60)

    def told(self, event):
        return [line for line in self.log_lines if line.get("event") == event]

    def executor(self, role):
        return f"{self.home.host}:{role}-0"


@pytest.fixture
def store():
    server = ObjectStoreServer()
    server.start()
    server.make_bucket()
    yield server
    server.stop()
    server.forget()


@pytest.fixture
def hosts(tmp_path, pacs, store):
    """Two hosts of one PostgreSQL and one object store."""
    database = PostgresqlServer()
    database.start()
    url = database.create_database("covnode")
    with ExitStack() as stack:
        both = [Host(tmp_path / name, stack) for name in ("a", "b")]
        for host in both:
            if host is not both[0]:
                host.home.keys.parent.mkdir(mode=0o700, parents=True)
                host.home.keys.write_bytes(both[0].home.keys.read_bytes())
                host.home.keys.chmod(0o600)
            host.init("--pacs", pacs.address, "--database", url)
            credentials = f"[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
            (host.root / "store.credentials").write_text(credentials)
            values = {f"objects.{key}": str(value).lower() for key, value in store.settings.items()}
            host.configure(**values, objects__credentials_file="store.credentials", receive__processes=1)
        yield both
    database.stop()
    database.remove()


@pytest.fixture
def series(tmp_path):
    """Return a function that writes a small series of a patient with the sentinels' name, numbered."""

    def series(number):
        folder = tmp_path / f"series-{number}"
        write_phantom(make_phantom(PhantomPreset.COVID_SEVERE, slices=12, seed=number, size=64), folder)
        if number == 1:
            for each, path in enumerate(sorted(folder.glob("*.dcm"))):
                plant(path, each)
        return folder

    return series


def rows(host, *columns):
    with host.transaction() as session:
        return [tuple(row) for row in session.execute(sa.select(*columns))]


def test_a_worker_elsewhere_analyses_and_the_sender_beside_the_spool_delivers(hosts, store, pacs, series):
    a, b = hosts
    b.run("work")
    b.run("send")
    a.receive()
    a.push(series(1))
    wait_until(lambda: a.jobs("analysis", AnalysisState.ANALYSED), 120)
    assert leaks(store.all_bytes()) == []
    copy_place, result_place = rows(a, AnalysisRow.copy_place, AnalysisRow.result_place)[0]
    assert {key.rpartition("/")[0] for key in store.keys} == {copy_place, result_place}

    a.run("send")
    objects = received(pacs, 2)
    assert sorted(ds.Modality for ds in objects) == ["SEG", "SR"]
    assert {ds.PatientID for ds in objects} == {SENTINELS["id"]}
    wait_until(lambda: a.jobs("delivery", DeliveryState.DELIVERED), 60)
    assert rows(a, AnalysisRow.executor_id, AnalysisRow.attempts) == [(b.executor("worker"), 1)]
    assert rows(a, DeliveryRow.executor_id) == [(a.executor("sender"),)]
    assert rows(a, SeriesRow.spool) == [(a.home.spool_name,)]
    assert not [path for path in b.root.rglob("*.dcm") if not path.is_relative_to(b.home.scratch)]
    assert not list(a.home.scratch.rglob("*.dcm"))

    for host in hosts:
        shown = covnode("config", "show", "--home", str(host.root)).stdout
        assert store.endpoint in shown
        assert SECRET_KEY not in shown + host.log.read_text()
    checks = json.loads(covnode("doctor", "--home", str(a.root), "--json").stdout)
    assert [row["ok"] for row in checks if row["check"] == "object store"] == [True]

    for path in a.home.spool.glob("*/*.dcm"):
        os.utime(path, (1e9, 1e9))  # what has just been sent again stays
    a.configure(retention__delivered_days=1e-9)
    assert covnode("housekeeping", "run", "--home", str(b.root)).returncode == 0
    assert store.keys, "the host that has the spool removes"
    assert covnode("housekeeping", "run", "--home", str(a.root)).returncode == 0
    assert store.keys == []
    assert not list(a.home.spool.glob("*/*.dcm"))


def test_while_the_store_is_away_all_waits_and_nothing_is_lost(hosts, store, pacs, series):
    a, b = hosts
    store.stop()
    receiver = a.receive()
    for number in (1, 2):
        a.push(series(number))
    wait_until(lambda: a.told("intake_waits_for_store"), 60)
    wait_until(lambda: rows(a, SeriesRow.state) == [(SeriesState.CHOSEN,)] * 2, 60)
    checks = {row["check"]: row for row in json.loads(covnode("doctor", "--home", str(a.root), "--json").stdout)}
    assert "does not answer: is objects.endpoint_url right" in checks["object store"]["finding"]
    store.start()
    wait_until(lambda: rows(a, SeriesRow.state) == [(SeriesState.HANDED_OVER,)] * 2, 90)

    store.stop()
    b.run("work")
    wait_until(lambda: b.told("waits_for_object_store"), 60)
    store.start()
    wait_until(lambda: len(a.jobs("analysis", AnalysisState.ANALYSED)) == 2, 120)
    assert rows(a, AnalysisRow.attempts) == [(1,), (1,)]

    a.end(receiver)
    store.stop()
    a.run("send")
    wait_until(lambda: a.told("delivery_postponed"), 60)
    store.start()
    assert sorted(ds.Modality for ds in received(pacs, 4)) == ["SEG", "SEG", "SR", "SR"]
    wait_until(lambda: len(a.jobs("delivery", DeliveryState.DELIVERED)) == 2, 60)
    assert not a.told("analysis_failed") + b.told("analysis_failed") + a.told("intake_failed")


def test_series_of_a_host_that_died_wait_for_it(hosts, pacs, series):
    a, b = hosts
    a.configure(completeness__idle_s=30, completeness__gap_idle_s=30)
    dead = a.receive()
    b.receive()
    a.push(series(1))
    wait_until(a.series, 60)
    dead.kill()
    dead.wait()
    b.push(series(2))
    # The living host forgets the dead one, and adopts what it can see to.
    wait_until(lambda: (a.executor("receiver"),) not in rows(b, ExecutorRow.executor_id), 60)
    wait_until(lambda: (SeriesState.HANDED_OVER,) in rows(b, SeriesRow.state), 60)
    by_spool = dict(rows(b, SeriesRow.spool, SeriesRow.receiver))
    assert by_spool == {host.home.spool_name: host.executor("receiver") for host in hosts}

    a.configure(completeness__idle_s=1, completeness__gap_idle_s=1)
    a.receive()
    wait_until(lambda: rows(a, SeriesRow.state) == [(SeriesState.HANDED_OVER,)] * 2, 60)
