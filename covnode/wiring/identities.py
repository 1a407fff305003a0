"""What a person sees of identities, each look in the audit trail: look up one, list all.

Comes from the command line; opens the vault. Gives identities to whoever asked and to nobody else: what is written
down, and what an error says, are our own ids and pseudonyms.
"""

import csv
import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from covnode.deidentify import key_file
from covnode.deidentify.key_file import KeyFile
from covnode.errors import ConfigurationError
from covnode.records.identity import Identity
from covnode.store import audit, patients, vault
from covnode.store.sealing import Seals
from covnode.store.tables import IdentityRow
from covnode.wiring.key_rotation import Progress, tie_all
from covnode.wiring.node import Node

PATIENT = re.compile(r"CN-[A-Z2-7]{26}")
"""A pseudonymous Patient ID."""
_SERIES = re.compile(r"ser-[0-9a-f]{12}")
_UID = re.compile(r"2\.25\.[0-9]{1,39}")
_BATCH = 200
_SHORTEST_WORD = 3

_TAGS = {
    "patient_name": "00100010",
    "patient_id": "00100020",
    "issuer_of_patient_id": "00100021",
    "patient_birth_date": "00100030",
    "patient_sex": "00100040",
    "accession_number": "00080050",
    "study_date": "00080020",
    "study_id": "00200010",
}
COLUMNS = (
    *("series_id", "revision", "pseudonymous_patient_id", "pseudonymous_study_uid", "pseudonymous_series_uid"),
    *(*_TAGS, "study_instance_uid", "series_instance_uid"),
)
"""What is shown of one identity."""


def person(action: audit.Action, reason: str) -> audit.Access:
    """Say who asks: the OS user of this process, and whom sudo ran it for.

    Raises
    ------
    ConfigurationError
        There is no reason.
    """
    if not reason.strip():
        raise ConfigurationError("say why by --reason: it is kept in the audit trail.")
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return audit.Access(f"{name} (sudo by {behind})" if behind else name, action, reason.strip())


def make_keys(node: Node, access: audit.Access) -> None:
    """Make the key file of a home that lacks one.

    Raises
    ------
    ConfigurationError
        There is one; or the vault holds identities that only the lost one opens.
    """
    with node.transaction() as session:
        held = vault.count(session)
        outcome = audit.Outcome.REFUSED if held or node.home.keys.exists() else audit.Outcome.BEGUN
        audit.write(session, access, outcome)
    if held and not node.home.keys.exists():
        raise ConfigurationError(
            f"the vault holds {held} identities that only the lost key opens: restore {node.home.keys} from the backup."
        )
    key_file.create(node.home.keys)
    with node.transaction() as session:
        audit.write(session, access, audit.Outcome.DONE)


def refuse_new_keys(node: Node) -> None:
    """Refuse to make keys for a database that others have filled.

    Raises
    ------
    ConfigurationError
        The vault holds identities.
    """
    with node.transaction() as session:
        held = vault.count(session)
    if held:
        raise ConfigurationError(
            f"the vault of the database holds {held} identities that only its own keys open: "
            f"copy keys/ of the node's first host to {node.home.keys.parent}, then run this again."
        )


class NamesPatientError(ConfigurationError):
    """The reason would put an identity into the audit trail."""


@dataclass(frozen=True)
class OpenVault:
    """The vault as the audited commands have it."""

    node: Node
    keys: KeyFile

    @classmethod
    def of(cls, node: Node, access: audit.Access, progress: Progress) -> "OpenVault":
        """Load the keys, and tie what an older release sealed."""
        keys = KeyFile(node.home.keys)
        tie_all(node, keys, access, progress)
        return cls(node, keys)

    @property
    def seals(self) -> Seals:
        """What opens a row."""
        return Seals(self.keys)

    @contextmanager
    def audited(self, access: audit.Access) -> Iterator[Session]:
        """Open a transaction; a reason that names the patient undoes it, and is not kept.

        Raises
        ------
        NamesPatientError
            As `refuse_identity` says.
        """
        try:
            with self.node.transaction() as session:
                yield session
        except NamesPatientError:
            withheld = audit.Access(access.actor, access.action, "withheld: it named the patient")
            with self.node.transaction() as session:
                audit.write(session, withheld, audit.Outcome.REFUSED)
            raise


def look_up(opened: OpenVault, name: str, access: audit.Access) -> list[dict[str, str]]:
    """Return the identities that a pseudonymous Patient ID, study or series UID, or our series id stands for.

    A patient's are also those of all who were merged into the patient.

    Raises
    ------
    ConfigurationError
        It is none of these, or stands for nothing here; the message does not repeat it: it may be an original.
    """
    with opened.audited(access) as session:
        rows = _named(session, name)
        if rows:
            identities = vault.IdentityVault(opened.seals).read_all(session, rows, access, [name])
            refuse_identity(access.reason, identities)
        else:
            audit.write(session, access, audit.Outcome.NOT_FOUND)
    if not rows:
        raise ConfigurationError("the vault holds no identity under this id.")
    return [_shown(row, identity) for row, identity in zip(rows, identities, strict=True)]


def export(opened: OpenVault, out: Path, access: audit.Access, progress: Progress) -> int:
    """Write every identity of the vault into a CSV file that only its owner reads; return how many.

    Raises
    ------
    ConfigurationError
        The file exists, or cannot be written.
    """
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{out} exists already: name another file.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            done = _write_all(opened, csv.DictWriter(file, COLUMNS), access, progress)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        out.unlink(missing_ok=True)  # half a list would be taken for the whole
        raise
    return done


def _write_all(opened: OpenVault, table: "csv.DictWriter[str]", access: audit.Access, progress: Progress) -> int:
    table.writeheader()
    with opened.node.transaction() as session:
        total = vault.count(session)
        audit.write(session, access, audit.Outcome.BEGUN)
    done, last = 0, ("", 0)
    while True:
        with opened.audited(access) as session:
            rows = vault.after(session, last, _BATCH)
            if not rows:
                return done
            identities = vault.IdentityVault(opened.seals).read_all(session, rows, access)
            refuse_identity(access.reason, identities)
        for row, identity in zip(rows, identities, strict=True):
            table.writerow(_shown(row, identity))
        done, last = done + len(rows), (rows[-1].series_id, rows[-1].revision)
        progress(done, total)


def _named(session: Session, name: str) -> list[IdentityRow]:
    if PATIENT.fullmatch(name):
        return vault.of_patients(session, patients.group_of(session, name))
    if _SERIES.fullmatch(name):
        return vault.of_series(session, name)
    if _UID.fullmatch(name):
        return vault.of_uid(session, name)
    raise ConfigurationError(
        "look up a pseudonymous Patient ID (CN-…), a pseudonymous study or series UID (2.25.…), or a series (ser-…)."
    )


def _shown(row: IdentityRow, identity: Identity) -> dict[str, str]:
    known = {name: _text(identity.attributes.get(tag)) for name, tag in _TAGS.items()}
    known |= {"study_instance_uid": identity.study_instance_uid, "series_instance_uid": identity.series_instance_uid}
    return {name: known[name] if name in known else str(getattr(row, name) or "") for name in COLUMNS}


def _text(json: object) -> str:
    """Return an attribute's values (PS3.18 F.2.2) in one line."""
    values = json.get("Value", []) if isinstance(json, Mapping) else []
    return "\\".join(
        "=".join(filter(None, value.values())) if isinstance(value, Mapping) else str(value or "") for value in values
    )


def refuse_identity(reason: str, identities: Iterable[Identity]) -> None:
    """Keep an identity out of the audit trail.

    Raises
    ------
    NamesPatientError
        The reason has a word, of three letters or more, of the name, id or accession number of one of them.
    """
    said = set(_words(reason))
    for identity in identities:
        for name in ("patient_name", "patient_id", "accession_number"):
            if said.intersection(_words(_text(identity.attributes.get(_TAGS[name])))):
                raise NamesPatientError(
                    "the reason has a word of the patient's name or numbers, and would stay in the audit trail: "
                    "reword it."
                )


def _words(text: str) -> Iterator[str]:
    return (word for word in re.findall(r"[^\W_]+(?:-[^\W_]+)*", text.casefold()) if len(word) >= _SHORTEST_WORD)
