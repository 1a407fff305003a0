"""A database of the release before the generations of keys, with identities in it, becomes one of this release."""

import os
import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic import command
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from covnode.deidentify import key_file
from covnode.deidentify.key_file import KeyFile
from covnode.home import Home
from covnode.settings import Settings
from covnode.store.audit import Access, Action
from covnode.store.engine import make_engine, revisions
from covnode.store.tables import Base
from covnode.store.upgrades import alembic_config, upgrade
from covnode.wiring import identities
from covnode.wiring.identities import OpenVault
from covnode.wiring.key_rotation import rotate, tie_all
from covnode.wiring.node import Node
from covnode.wiring.patients import PatientsInStore

pytestmark = pytest.mark.xdist_group("dbos")

WHY = Access("tester", Action.LOOKUP, "why")
SERIES_ID = "ser-0123456789ab"
# As that release wrote an identity: without the pseudonymous Patient ID.
IDENTITY = (
    '{"study_instance_uid":"1.2.3","series_instance_uid":"1.2.4","frame_of_reference_uid":null,"attributes":'
    '{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Doe^Jane"}]},"00100020":{"vr":"LO","Value":["MRN-1"]}},'
    '"uid_map":{"STUDY":"1.2.3","SERIES":"1.2.4"},"ambiguous_references":false}'
)

KILLED_UPGRADE = """
import os, signal, sys
import sqlalchemy as sa
from covnode.store.engine import make_engine
from covnode.store.upgrades import upgrade

engine = make_engine(sys.argv[1])

@sa.event.listens_for(engine, "before_cursor_execute")
def _die(_connection, _cursor, statement, *_rest):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(engine)
"""


@pytest.fixture
def node(tmp_path, database_url):
    node = Node(Home(tmp_path / "home"), Settings.model_validate({"database": {"url": database_url}}))
    keys = key_file.create(node.home.keys).of_generation(1)
    Base.metadata.drop_all(node.engine)
    with node.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE alembic_version"))
    command.upgrade(alembic_config(node.engine), "0003")
    plain = IDENTITY.replace("STUDY", keys.uid("1.2.3")).replace("SERIES", keys.uid("1.2.4")).encode()
    nonce = os.urandom(12)
    associated = b"\x01" + f"{SERIES_ID}:1".encode()
    sealed = b"\x01" + nonce + AESGCM(keys.vault_key).encrypt(nonce, plain, associated)
    with node.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO series (series_id, series_digest, state, revision, received_at, last_instance_at,"
                " state_at, instance_count, source_ae_title, intake_attempts) VALUES (:id, 'd', 'handed_over', 1,"
                " '2026-01-01', '2026-01-01', '2026-01-01', 1, 'CT', 0)"
            ),
            {"id": SERIES_ID},
        )
        connection.execute(
            sa.text("INSERT INTO identities (series_id, revision, sealed) VALUES (:id, 1, :sealed)"),
            {"id": SERIES_ID, "sealed": sealed},
        )
    yield node
    node.engine.dispose()


@pytest.mark.parametrize(
    "step", ["CREATE TABLE patients", "ADD COLUMN sealed_with", "identity_audit", "alembic_version SET"]
)
@pytest.mark.chaos
def test_an_upgrade_that_is_killed_loses_no_identity_and_the_next_one_ties_it(node, step):
    url = node.settings.database.url
    killed = subprocess.run([sys.executable, "-c", KILLED_UPGRADE, url, step], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert revisions(node.engine)[0] == "0003"
    upgrade(make_engine(url))
    assert tie_all(node, KeyFile(node.home.keys), WHY, lambda _done, _total: None) == 1
    assert tie_all(node, KeyFile(node.home.keys), WHY, lambda _done, _total: None) == 0
    keys = key_file.load(node.home.keys).of_generation(1)
    opened = OpenVault.of(node, WHY, lambda _done, _total: None)
    for name in (SERIES_ID, keys.patient_id("", "MRN-1"), keys.uid("1.2.3"), keys.uid("1.2.4")):
        (found,) = identities.look_up(opened, name, WHY)
        assert (found["patient_name"], found["patient_id"]) == ("Doe^Jane", "MRN-1")


def test_its_patients_keep_their_pseudonyms_over_a_rotation_that_comes_first(node):
    upgrade(node.engine)
    rotate(node, WHY, lambda _done, _total: None)
    first = key_file.load(node.home.keys).of_generation(1)
    known = PatientsInStore(node.transaction, KeyFile(node.home.keys)).of("", "MRN-1")
    assert known.patient_id == first.patient_id("", "MRN-1")
    assert known.keys.uid("1.2.3") == first.uid("1.2.3")
