"""Both databases: every test of this folder runs on SQLite and on a PostgreSQL server of its own."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import psycopg2
import pytest

from covnode.cli.local_node import free_port
from covnode.queue.engine import migrate_engine
from covnode.store.engine import make_engine, upgrade


def program(name: str) -> str:
    """Return a program of PostgreSQL's server, which Debian keeps out of the path."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    assert found, f"{name} is not installed: run tests/install_peers.sh"
    return found


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """Start a server on a port of its own; the server refuses to run as root, so it runs as its own user then."""
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/covnode-pg-XXXXXX"], text=True).strip())
    as_user = {"user": user} if os.geteuid() == 0 else {}
    shutil.chown(folder, user)
    port = free_port()
    data = str(folder / "data")
    quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, **as_user}
    subprocess.run([program("initdb"), "-D", data, "-A", "trust", "-U", "covnode", "--no-sync"], check=True, **quiet)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [program("pg_ctl"), "-D", data, "-l", str(folder / "log"), "-w"]
    subprocess.run([*control, "-o", options, "start"], check=True, **quiet)
    yield f"covnode@127.0.0.1:{port}"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'covnode.db'}"
    else:
        server = request.getfixturevalue("postgresql")
        name = f"t{abs(hash(request.node.nodeid))}"
        connection = psycopg2.connect(f"postgresql://{server}/postgres")
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        url = f"postgresql+psycopg2://{server}/{name}"
    engine = make_engine(url)
    upgrade(engine)
    migrate_engine(url)
    engine.dispose()
    return url
