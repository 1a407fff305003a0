"""Rotation, look-ups, merges, erasure and their audit trail, on both databases."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from patients_taken_in import identity_of, take_in

from covnode.deidentify import key_file
from covnode.deidentify.key_file import KeyFile
from covnode.errors import ConfigurationError, CovnodeError, DeliveryRefused, StaleClaim
from covnode.home import Home
from covnode.records.job import AnalysisState, DeliveryState
from covnode.settings import Settings
from covnode.store import audit, deliveries, patients, vault
from covnode.store.audit import Access, Action, Outcome
from covnode.store.sealing import Seals
from covnode.store.tables import AnalysisRow, AuditRow, DeliveryRow, IdentityRow, PatientRow
from covnode.store.vault import IdentityVault
from covnode.wiring import identities, identity_changes
from covnode.wiring.identities import OpenVault
from covnode.wiring.key_rotation import behind, rotate, seal_anew, untied
from covnode.wiring.node import Node
from covnode.wiring.patients import PatientsInStore

pytestmark = pytest.mark.xdist_group("dbos")

ANNA, BERTA = "MRN-1", "MRN-2"


@pytest.fixture
def node(tmp_path, database_url):
    node = Node(Home(tmp_path / "home"), Settings.model_validate({"database": {"url": database_url}}))
    key_file.create(node.home.keys)
    yield node
    node.engine.dispose()


def why(action, reason="asked for by the board"):
    return Access("tester", action, reason)


def silent(_done, _total):
    pass


def opened(node):
    return OpenVault.of(node, why(Action.LOOKUP), silent)


def look_up(node, name, reason="asked for by the board"):
    return identities.look_up(opened(node), name, why(Action.LOOKUP, reason))


def trail(node):
    with node.transaction() as session:
        rows = audit.newest(session, None)
    return [(row.action, row.outcome, row.subjects, row.identities) for row in reversed(rows)]


def pseudonyms(node, patient_id):
    return PatientsInStore(node.transaction, KeyFile(node.home.keys)).of("HOSP", patient_id)


def end_all_work(node):
    with node.transaction() as session:
        session.execute(sa.update(AnalysisRow).values(state=AnalysisState.ANALYSED))
        session.execute(sa.update(DeliveryRow).values(state=DeliveryState.DELIVERED))


def test_a_patient_who_is_known_keeps_everything_over_a_rotation_and_a_new_one_gets_the_new_keys(node):
    before, nobody = pseudonyms(node, ANNA), pseudonyms(node, "")
    rotate(node, why(Action.ROTATE), silent)
    ring = key_file.load(node.home.keys)
    after, new = pseudonyms(node, ANNA), pseudonyms(node, BERTA)
    assert (after.patient_id, after.date_offset_days) == (before.patient_id, before.date_offset_days)
    assert after.keys.uid("1.2.3") == before.keys.uid("1.2.3") == ring.of_generation(1).uid("1.2.3")
    assert new.patient_id == ring.of_generation(2).patient_id("HOSP", BERTA)
    assert new.keys.uid("1.2.3") == ring.of_generation(2).uid("1.2.3")
    assert pseudonyms(node, "").patient_id == nobody.patient_id
    rotate(node, why(Action.ROTATE), silent)
    assert pseudonyms(node, BERTA).patient_id == new.patient_id
    assert pseudonyms(node, " MRN-2 ").patient_id == new.patient_id


def test_two_processes_that_meet_a_patient_first_choose_one_generation(node):
    """The receiver has not seen the rotation yet, the command has."""
    old = key_file.load(node.home.keys)
    key_file.rotate(node.home.keys)
    chosen = []
    start = threading.Barrier(2)

    def meet(keys):
        start.wait()
        chosen.append(PatientsInStore(node.transaction, keys).of("HOSP", ANNA))

    class Late(KeyFile):
        seen = False

        @property
        def ring(self):
            if self.seen:
                return super().ring
            self.seen = True
            return old

    for _ in range(5):
        met = (Late(node.home.keys), KeyFile(node.home.keys))
        threads = [threading.Thread(target=meet, args=(keys,)) for keys in met]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({(one.patient_id, one.date_offset_days, one.keys.uid("1")) for one in chosen}) == 1
        assert len(chosen) == 2
        chosen.clear()
        with node.transaction() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(PatientRow)) == 1
            session.execute(sa.delete(PatientRow))


def test_a_rotation_seals_everything_anew_and_everything_opens(node):
    taken = [take_in(node, ANNA, 1), take_in(node, BERTA, 2)]
    assert rotate(node, why(Action.ROTATE), silent) == (2, 4, 0)  # two identities and two patients
    with node.transaction() as session:
        assert behind(session, 2) == 0
        read = IdentityVault(Seals(KeyFile(node.home.keys)))
        for series_id, _, identity in taken:
            assert read.read(session, series_id, 1, why(Action.DELIVER)) == identity
        contents = list(session.scalars(sa.select(IdentityRow.sealed)))
    second = key_file.load(node.home.keys).of_generation(2)

    class OnlyTheNew:
        newest_generation = 2
        vault_key = staticmethod(lambda _generation: second.vault_key)

    for series_id, _, _ in taken:
        with node.transaction() as session:
            IdentityVault(Seals(OnlyTheNew)).read(session, series_id, 1, why(Action.DELIVER))
    assert all(b"Sentinel" not in content for content in contents)


KILLED_ROTATION = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from covnode.home import Home
from covnode.settings import Settings
from covnode.store.audit import Access, Action
from covnode.wiring import key_rotation
from covnode.wiring.node import Node

node = Node(Home(Path(sys.argv[1])), Settings.model_validate({"database": {"url": sys.argv[2]}}))
key_rotation._BATCH = 1
step, left = sys.argv[3], int(sys.argv[4])

@sa.event.listens_for(node.engine, "before_cursor_execute")
def _die(_connection, _cursor, statement, *_rest):
    global left
    if step in statement:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

key_rotation.rotate(node, Access("tester", Action.ROTATE, "why"), lambda done, total: None)
"""


@pytest.mark.parametrize(
    ("step", "times", "generation"),
    [
        ("INSERT INTO identity_audit", 0, 1),
        ("count(*) AS count_1 \nFROM identities \nWHERE identities.sealed_with", 0, 2),
        ("UPDATE identities", 0, 2),
        ("UPDATE identities", 1, 2),
        ("UPDATE patients", 1, 2),
        ("INSERT INTO identity_audit", 1, 2),
    ],
)
@pytest.mark.chaos
def test_a_rotation_that_is_killed_at_any_step_has_lost_nothing_and_is_finished_later(node, step, times, generation):
    taken = [take_in(node, patient, number) for number, patient in enumerate((ANNA, BERTA, ""), start=1)]
    node.engine.dispose()
    arguments = [str(node.home.root), node.settings.database.url, step, str(times)]
    killed = subprocess.run([sys.executable, "-c", KILLED_ROTATION, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert key_file.load(node.home.keys).newest == generation

    def all_open():
        with node.transaction() as session:
            reader = IdentityVault(Seals(KeyFile(node.home.keys)))
            return all(reader.read(session, one, 1, why(Action.DELIVER)) == identity for one, _, identity in taken)

    assert all_open()
    assert pseudonyms(node, ANNA).patient_id == taken[0][2].pseudonymous_patient_id
    assert seal_anew(node, why(Action.ROTATE), silent)[0] == generation
    with node.transaction() as session:
        assert behind(session, generation) == 0
    assert all_open()


def test_an_identity_that_the_intake_replaces_during_a_rotation_stays_the_newer_one(node):
    series_id, _, identity = take_in(node, ANNA, 1)
    key_file.rotate(node.home.keys)
    newer = identity.model_copy(update={"ambiguous_references": True})
    kept = IdentityVault(Seals(KeyFile(node.home.keys)))

    class Meddling(Seals):
        def renewed(self, sealed, context):
            again = super().renewed(sealed, context)
            if context.startswith("ser-"):
                with node.engine.begin() as connection:
                    plain = Seals(KeyFile(node.home.keys)).seal(newer.model_dump_json().encode(), context)
                    connection.execute(
                        sa.update(IdentityRow).values(sealed=plain.content, sealed_with=plain.generation)
                    )
            return again

    monkey = pytest.MonkeyPatch()
    monkey.setattr("covnode.wiring.key_rotation.Seals", Meddling)
    try:
        seal_anew(node, why(Action.ROTATE), silent)
    finally:
        monkey.undo()
    with node.transaction() as session:
        assert kept.read(session, series_id, 1, why(Action.DELIVER)) == newer


def test_a_row_that_does_not_open_holds_no_other_up(node):
    (first, _, identity), (second, _, _) = take_in(node, ANNA, 1), take_in(node, BERTA, 2)
    make_untied(node)
    with node.transaction() as session:
        session.get_one(IdentityRow, (second, 1)).sealed = b"\x01 damaged"
    assert rotate(node, why(Action.ROTATE), silent) == (2, 2, 1)
    assert look_up(node, identity.pseudonymous_patient_id)[0]["series_id"] == first
    with node.transaction() as session:
        assert (behind(session, 2), untied(session)) == (1, 1)
    with pytest.raises(ConfigurationError, match="does not open"):
        look_up(node, second)


def make_untied(node):
    """Leave the tables as an older release did, after the upgrade."""
    with node.transaction() as session:
        session.execute(
            sa.update(IdentityRow).values(
                pseudonymous_patient_id=None, pseudonymous_study_uid=None, pseudonymous_series_uid=None
            )
        )
        session.execute(sa.delete(PatientRow))


def test_what_an_older_release_sealed_is_tied_before_anything_else_and_its_patients_stay_known(node):
    taken = [take_in(node, patient, number) for number, patient in enumerate((ANNA, BERTA, ""), start=1)]
    make_untied(node)
    rotate(node, why(Action.ROTATE), silent)
    ring = key_file.load(node.home.keys)
    assert pseudonyms(node, ANNA).patient_id == ring.of_generation(1).patient_id("HOSP", ANNA)
    with node.transaction() as session:
        rows = {row.series_id: row for row in vault.after(session, ("", 0), 10)}
    for series_id, _, identity in taken:
        assert rows[series_id].pseudonymous_patient_id == identity.pseudonymous_patient_id
        assert identity.uid_map[rows[series_id].pseudonymous_study_uid] == identity.study_instance_uid
    assert trail(node)[0] == (Action.TIE, Outcome.DONE, [], 3)


def test_a_look_up_finds_a_patient_by_every_pseudonym_and_says_whose_it_is(node):
    series_id, _, identity = take_in(node, ANNA, 1)
    take_in(node, BERTA, 2)
    uids = {original: uid for uid, original in identity.uid_map.items()}
    names = [identity.pseudonymous_patient_id, series_id, uids["1.2.3.1"], uids["1.2.3.1.1"]]
    for name in names:
        (found,) = look_up(node, name)
        assert found["patient_name"] == "SentinelMRN-1^Jane"
        assert (found["patient_id"], found["patient_birth_date"]) == (ANNA, "19501231")
        assert (found["accession_number"], found["study_instance_uid"]) == ("ACC-1", "1.2.3.1")
    assert trail(node) == [
        (Action.LOOKUP, Outcome.DONE, [name] if name == series_id else [name, series_id], 1) for name in names
    ]


def test_the_uid_of_a_delivered_result_is_found_too(node):
    series_id, analysis_id, _ = take_in(node, ANNA, 1)
    with node.transaction() as session:
        job = deliveries.open_delivery(session, analysis_id, "pacs")
        claim = deliveries.claim(session, job.subject_id, 1, "sender")
        deliveries.record_object(session, claim, "seg", "2.25.77", 0)
    assert [found["series_id"] for found in look_up(node, "2.25.77")] == [series_id]


@pytest.mark.parametrize("name", ["2.25.4711", "CN-AAAAAAAAAAAAAAAAAAAAAAAAAA", "ser-000000000000"])
def test_a_look_up_that_finds_nothing_is_in_the_trail_without_what_was_typed(node, name):
    with pytest.raises(ConfigurationError, match="holds no identity") as refused:
        look_up(node, name)
    assert name not in str(refused.value)
    assert trail(node) == [(Action.LOOKUP, Outcome.NOT_FOUND, [], 0)]


def test_what_is_no_pseudonym_is_refused_and_not_repeated(node):
    for typed in ("Doe^Jane", "1.2.840.113619.2.55.3", ANNA):
        with pytest.raises(ConfigurationError, match="look up a pseudonymous") as refused:
            look_up(node, typed)
        assert typed not in str(refused.value)


@pytest.mark.parametrize("reason", ["call about sentinelmrn-1", "for JANE", "about mrn-1, urgent", "see ACC-1"])
def test_a_reason_that_names_the_patient_gets_nothing_and_is_not_kept(node, reason):
    series_id, _, identity = take_in(node, ANNA, 1)
    end_all_work(node)
    for act in (
        lambda: look_up(node, series_id, reason),
        lambda: identity_changes.erase(opened(node), identity.pseudonymous_patient_id, why(Action.ERASE, reason)),
    ):
        with pytest.raises(ConfigurationError, match="reword"):
            act()
    with node.transaction() as session:
        rows = audit.newest(session, None)
        assert vault.count(session) == 1
    assert [row.outcome for row in rows] == [Outcome.REFUSED] * 2
    assert all(reason not in row.reason for row in rows)


def test_no_look_up_without_its_row_in_the_trail(node):
    series_id, _, _ = take_in(node, ANNA, 1)
    with node.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE identity_audit RENAME TO gone"))
    with pytest.raises(CovnodeError), node.transaction() as session:
        IdentityVault(Seals(KeyFile(node.home.keys))).read(session, series_id, 1, why(Action.DELIVER))
    with pytest.raises(CovnodeError):
        look_up(node, series_id)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE identity_audit SET reason = 'none'",
        "DELETE FROM identity_audit",
        "INSERT OR REPLACE INTO identity_audit SELECT audit_id, at, 'x', action, subjects, reason, outcome, identities"
        " FROM identity_audit",
        "TRUNCATE identity_audit",
    ],
)
def test_a_row_of_the_trail_can_neither_be_changed_nor_removed(node, statement):
    is_sqlite = node.engine.dialect.name == "sqlite"
    if is_sqlite is statement.startswith("TRUNCATE") and not statement.startswith(("UPDATE", "DELETE")):
        pytest.skip("the other database's")
    with node.transaction() as session:
        audit.write(session, why(Action.LOOKUP), Outcome.DONE)
    before = trail(node)
    with pytest.raises(sa.exc.DBAPIError, match="only added to"), node.engine.begin() as connection:
        connection.execute(sa.text(statement))
    assert trail(node) == before


def test_an_export_is_private_whole_and_never_overwrites(node, tmp_path):
    taken = [take_in(node, patient, number) for number, patient in enumerate((ANNA, BERTA), start=1)]
    out = tmp_path / "out.csv"
    usual = os.umask(0)
    try:
        assert identities.export(opened(node), out, why(Action.EXPORT), silent) == 2
    finally:
        os.umask(usual)
    assert out.stat().st_mode & 0o777 == 0o600
    with out.open(newline="") as file:
        rows = {row["pseudonymous_patient_id"]: row["patient_id"] for row in csv.DictReader(file)}
    assert rows == {
        identity.pseudonymous_patient_id: each for (_, _, identity), each in zip(taken, (ANNA, BERTA), strict=True)
    }
    assert [(action, outcome) for action, outcome, _, _ in trail(node)] == [
        (Action.EXPORT, Outcome.BEGUN),
        (Action.EXPORT, Outcome.DONE),
    ]
    before = out.read_bytes()
    with pytest.raises(ConfigurationError, match="exists already"):
        identities.export(opened(node), out, why(Action.EXPORT), silent)
    assert out.read_bytes() == before


def test_an_export_that_fails_leaves_no_half_of_a_list(node, tmp_path):
    take_in(node, ANNA, 1)
    with node.transaction() as session:
        session.execute(sa.update(IdentityRow).values(sealed=b"\x01 damaged"))
    with pytest.raises(ConfigurationError, match="does not open"):
        identities.export(opened(node), tmp_path / "out.csv", why(Action.EXPORT), silent)
    assert not (tmp_path / "out.csv").exists()


def test_after_a_merge_series_to_come_carry_the_other_patients_id_and_dates_and_old_links_stay(node):
    (old, _, anna), (_, _, berta) = take_in(node, ANNA, 1), take_in(node, BERTA, 2)
    before, other = pseudonyms(node, ANNA), pseudonyms(node, BERTA)
    heading = identity_changes.merge(
        opened(node), anna.pseudonymous_patient_id, berta.pseudonymous_patient_id, why(Action.MERGE)
    )
    assert heading == berta.pseudonymous_patient_id
    after = pseudonyms(node, ANNA)
    assert (after.patient_id, after.date_offset_days) == (other.patient_id, other.date_offset_days)
    assert after.keys.uid("1.2.3.1") == before.keys.uid("1.2.3.1")
    (found,) = look_up(node, old)
    assert (found["patient_id"], found["pseudonymous_patient_id"]) == (ANNA, anna.pseudonymous_patient_id)
    assert {one["patient_id"] for one in look_up(node, heading)} == {ANNA, BERTA}
    rotate(node, why(Action.ROTATE), silent)
    assert pseudonyms(node, ANNA).patient_id == after.patient_id
    assert identity_of(node, KeyFile(node.home.keys), ANNA, 3).pseudonymous_patient_id == heading


def test_merges_never_go_round_in_a_circle(node):
    a, b, c = (take_in(node, f"MRN-{n}", n)[2].pseudonymous_patient_id for n in range(3))

    def merge(one, other):
        return identity_changes.merge(opened(node), one, other, why(Action.MERGE))

    merge(a, b)
    assert merge(b, c) == c
    for one, other in ((b, a), (c, a), (c, b), (a, a), (c, c)):
        with pytest.raises(ConfigurationError, match=r"circle|before"):
            merge(one, other)
    another = take_in(node, "MRN-9", 9)[2].pseudonymous_patient_id
    with pytest.raises(ConfigurationError, match=f"{a} was merged into {b}"):
        merge(a, another)
    with pytest.raises(ConfigurationError, match="no pseudonymous Patient ID"):
        merge("Doe^Jane", a)
    with node.transaction() as session:
        assert set(patients.group_of(session, c)) == {a, b, c}
    outcomes = [outcome for action, outcome, _, _ in trail(node) if action == Action.MERGE]
    assert outcomes == [Outcome.DONE] * 2 + [Outcome.REFUSED] * 7


def test_a_merge_that_another_process_was_faster_with_is_refused(node):
    a, b, c = (take_in(node, f"MRN-{n}", n)[2].pseudonymous_patient_id for n in range(3))
    with node.transaction() as session:
        patients.merge(session, a, b)
    with pytest.raises(StaleClaim), node.transaction() as session:
        patients.merge(session, a, c)
    with pytest.raises(StaleClaim), node.transaction() as session:
        patients.merge(session, c, a)


def test_an_erased_patient_is_found_by_nobody_and_the_others_stay(node):
    (first, analysis_id, anna), (other, _, _) = take_in(node, ANNA, 1), take_in(node, BERTA, 2)
    with node.transaction() as session:
        delivery_id = deliveries.open_delivery(session, analysis_id, "pacs").subject_id
    end_all_work(node)
    waiting = node.home.outbox / delivery_id / "sr.dcm"
    waiting.parent.mkdir(parents=True)
    waiting.touch()
    before = pseudonyms(node, ANNA).patient_id
    assert identity_changes.erase(opened(node), anna.pseudonymous_patient_id, why(Action.ERASE)) == [first]
    assert not waiting.exists()
    with pytest.raises(ConfigurationError, match="no identity"):
        look_up(node, first)
    assert look_up(node, other)
    with pytest.raises(DeliveryRefused, match="was it erased") as refused, node.transaction() as session:
        IdentityVault(Seals(KeyFile(node.home.keys))).read(session, first, 1, why(Action.DELIVER))
    assert refused.value.code == "no_identity"
    assert trail(node)[0] == (Action.ERASE, Outcome.DONE, [anna.pseudonymous_patient_id, first], 1)
    assert pseudonyms(node, ANNA).patient_id == before
    with pytest.raises(ConfigurationError, match="holds no identity"):
        identity_changes.erase(opened(node), anna.pseudonymous_patient_id, why(Action.ERASE))


def test_nothing_is_erased_while_work_is_open_and_the_work_is_named(node):
    _, analysis_id, anna = take_in(node, ANNA, 1)

    def refused():
        with pytest.raises(ConfigurationError, match="still open") as error:
            identity_changes.erase(opened(node), anna.pseudonymous_patient_id, why(Action.ERASE))
        return str(error.value)

    assert analysis_id in refused()
    with node.transaction() as session:
        session.execute(sa.update(AnalysisRow).values(state=AnalysisState.ANALYSED))
        delivery_id = deliveries.open_delivery(session, analysis_id, "pacs").subject_id
    assert delivery_id in refused()
    with node.transaction() as session:
        assert vault.count(session) == 1
    assert {outcome for action, outcome, _, _ in trail(node) if action == Action.ERASE} == {Outcome.REFUSED}


def test_who_was_merged_is_erased_with_the_patient_and_not_alone(node):
    (one, _, anna), (two, _, berta) = take_in(node, ANNA, 1), take_in(node, BERTA, 2)
    end_all_work(node)
    identity_changes.merge(opened(node), anna.pseudonymous_patient_id, berta.pseudonymous_patient_id, why(Action.MERGE))
    with pytest.raises(ConfigurationError, match="erase that one"):
        identity_changes.erase(opened(node), anna.pseudonymous_patient_id, why(Action.ERASE))
    erased = identity_changes.erase(opened(node), berta.pseudonymous_patient_id, why(Action.ERASE))
    assert sorted(erased) == sorted([one, two])


def test_a_lost_key_is_not_replaced_by_a_new_one(node):
    node.home.keys.unlink()
    identities.make_keys(node, why(Action.INIT))
    with pytest.raises(ConfigurationError, match="never overwritten"):
        identities.make_keys(node, why(Action.INIT))
    take_in(node, ANNA, 1)
    node.home.keys.unlink()
    with pytest.raises(ConfigurationError, match="restore"):
        identities.make_keys(node, why(Action.INIT))
    assert not node.home.keys.exists()
    assert [outcome for _, outcome, _, _ in trail(node)] == [
        Outcome.BEGUN,
        Outcome.DONE,
        Outcome.REFUSED,
        Outcome.REFUSED,
    ]


def test_neither_the_trail_nor_the_patients_hold_an_identity(node):
    """Every act once; then nothing of the originals is in clear anywhere in our tables."""
    (series_id, _, anna), (_, _, berta) = take_in(node, ANNA, 1), take_in(node, BERTA, 2)
    end_all_work(node)
    look_up(node, series_id)
    rotate(node, why(Action.ROTATE), silent)
    ids = (anna.pseudonymous_patient_id, berta.pseudonymous_patient_id)
    identity_changes.merge(opened(node), *ids, why(Action.MERGE))
    identity_changes.erase(opened(node), ids[1], why(Action.ERASE))
    with node.engine.connect() as connection:
        tables = {
            row.__tablename__: [tuple(each) for each in connection.execute(sa.select(row.__table__))]
            for row in (AuditRow, PatientRow, IdentityRow)
        }
    said = json.dumps(tables, default=str).lower()
    assert tables["identity_audit"]
    for sentinel in ("sentinel", "mrn-1", "mrn-2", "19501231", "acc-1", "1.2.3.1"):
        assert sentinel not in said
