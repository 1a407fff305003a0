"""Docker, compose and systemd agree with the project, and keep the rights that they give up.

No container engine runs here: the image itself is built by whoever releases it.
"""

import configparser
import re
import shutil
import socket
import subprocess
import sys
import tomllib

import pytest
import yaml

from covnode.home import Home
from covnode.settings import ReceiveSettings, StowSettings, TlsSettings
from covnode.store import executors
from covnode.wiring.node import open_node

PORTS = (ReceiveSettings().port, TlsSettings().port, StowSettings().port)


@pytest.fixture
def dockerfile(root) -> str:
    return (root / "docker" / "Dockerfile").read_text()


@pytest.fixture
def service(root):
    return yaml.safe_load((root / "deploy" / "compose" / "compose.yaml").read_text())["services"]["covnode"]


@pytest.fixture
def unit(root):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(root / "deploy" / "systemd" / "covnode.service")
    return parser


def test_the_image_has_the_python_that_the_lock_was_made_for(root, dockerfile):
    image = re.search(r"^ARG PYTHON_VERSION=(\S+)$", dockerfile, re.MULTILINE)[1]
    locked = re.search(r"Python (\d+\.\d+)", (root / "constraints.txt").read_text())[1]
    assert image == locked


def test_the_image_runs_as_a_user_without_rights(dockerfile):
    last_stage = dockerfile.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE) == ["covnode"]
    assert f"EXPOSE {' '.join(map(str, PORTS))}\n" in last_stage


def test_the_build_gets_every_file_that_it_copies(root, dockerfile):
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = {name for line in sources for name in line.split()}
    ignore = (root / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert all((root / name).exists() for name in copied)
    included = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(included["force-include"]) <= copied


def test_compose_builds_that_image_and_gives_no_rights(root, service):
    context = (root / "deploy" / "compose" / service["build"]["context"]).resolve()
    assert (context / service["build"]["dockerfile"]).is_file()
    assert service["ports"] == [f"{port}:{port}" for port in PORTS]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_and_image_and_unit_keep_the_home_at_one_place(dockerfile, service, unit):
    home = re.search(r"COVNODE_HOME=(\S+)", dockerfile)[1]
    assert service["volumes"] == [f"home:{home}"]
    assert unit["Service"]["Environment"] == f"COVNODE_HOME={home}"
    assert unit["Service"]["ReadWritePaths"] == home


def test_the_unit_gives_no_rights(unit):
    wanted = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "CapabilityBoundingSet": "", "User": "covnode"}
    assert {key: unit["Service"][key] for key in wanted} == wanted


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("plant", "sound"), [("", True), ("ProtectEverything=yes\n", False)])
def test_systemd_understands_every_line_of_the_unit(plant, sound, root, tmp_path):
    text = (root / "deploy" / "systemd" / "covnode.service").read_text()
    text = text.replace("/opt/covnode/bin/covnode", "/bin/true").replace("[Install]", f"{plant}[Install]")
    (tmp_path / "covnode.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "covnode.service"], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "covnode.service" in line]
    assert (done.returncode == 0 and not said) is sound


def test_the_health_check_wants_the_receiver_the_worker_and_the_sender(root, tmp_path):
    def healthy() -> bool:
        command = [sys.executable, root / "docker" / "healthcheck.py"]
        environment = {"PATH": "", "COVNODE_HOME": str(tmp_path), "COVNODE__RECEIVE__PORT": port}
        return subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 0

    port = "1"
    command = [sys.executable, "-m", "covnode", "init", "--home", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    node = open_node(Home(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        port = str(receiver.getsockname()[1])
        mine, another = [node.executor_id(role) for role in ("worker", "sender")], "other:sender-0"
        for beating in ([], mine[:1], [mine[0], another], mine):
            with node.transaction() as session:
                for executor_id in beating:
                    executors.beat(session, executor_id, "some")
            assert healthy() == (beating == mine)
    assert not healthy()
