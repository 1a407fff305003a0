"""``covnode identities``: keys, and the audited look-ups of the vault."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, counting_progress, node_of, print_json, stdout
from covnode.errors import ConfigurationError
from covnode.store import audit as trail
from covnode.store.audit import Action
from covnode.wiring import identities, identity_changes
from covnode.wiring.identities import OpenVault, person
from covnode.wiring.key_rotation import rotate as rotate_keys
from covnode.wiring.key_rotation import seal_anew

app = typer.Typer(
    no_args_is_help=True, help="Keys of the pseudonyms, and identities: every command is kept in an audit trail."
)
ReasonOption = Annotated[
    str, typer.Option(metavar="TEXT", help="Why; kept in the audit trail, so without the patient's name.")
]
PatientArgument = Annotated[str, typer.Argument(help="A pseudonymous Patient ID: CN-…", show_default=False)]


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    with counting_progress() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _opened(home: Path | None, access: trail.Access) -> OpenVault:
    with _progress("tying identities of an older release") as progress:
        return OpenVault.of(node_of(home), access, progress)


@app.command()
def init(home: HomeOption = None) -> None:
    """Make the key file of a home that lacks one; it never replaces a key that something was sealed with.

    Example: `covnode identities init`
    """
    node = node_of(home)
    identities.make_keys(node, person(Action.INIT, "a key file was asked for"))
    stdout.print(f"Keep a copy of {node.home.keys}: without it no result finds its patient again.")


@app.command()
def rotate(
    resume: Annotated[
        bool, typer.Option("--resume", help="Make no new generation: finish what a rotation that was broken off left.")
    ] = False,
    reason: ReasonOption = "a rotation was asked for",
    home: HomeOption = None,
) -> None:
    """Add a generation of keys, and seal the vault anew with it. Running processes take it up without a restart.

    Patients who are known keep their pseudonyms and dates; who is new gets those of the new generation. A rotation
    that was killed has lost nothing: --resume finishes it.

    Example: `covnode identities rotate --reason "yearly rotation"`
    """
    node = node_of(home)
    work = seal_anew if resume else rotate_keys
    with _progress("sealing anew") as progress:
        done = work(node, person(Action.ROTATE, reason), progress)
    stdout.print(
        f"Generation {done.generation} of the keys is in force; {done.sealed} rows were sealed anew.", highlight=False
    )
    stdout.print(f"Keep a copy of {node.home.keys}: older copies do not open what is sealed from now on.")
    if done.left:
        raise ConfigurationError(
            f"{done.left} rows are still sealed by an older generation: try --resume; if it seals none, they do not "
            "open with this key file."
        )


@app.command()
def lookup(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A pseudonymous Patient ID (CN-…), a pseudonymous study or series UID or the UID of a result "
            "(2.25.…), or a series (ser-…).",
            show_default=False,
        ),
    ],
    reason: ReasonOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who a pseudonym stands for: the patient and study as received.

    Example: `covnode identities lookup ser-3f9c0a1b2c4d --reason "call from ward 3"`
    """
    access = person(Action.LOOKUP, reason)
    found = identities.look_up(_opened(home, access), identifier, access)
    if as_json:
        print_json(found)
        return
    for one in found:
        for name, value in one.items():
            if value:
                stdout.print(f"{name.replace('_', ' ')}: {value}", markup=False, highlight=False)
        stdout.print()


@app.command()
def export(
    reason: ReasonOption,
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV file to make; only its owner may read it.")],
    home: HomeOption = None,
) -> None:
    """Write who each pseudonym stands for, all that the vault holds, as CSV.

    Example: `covnode identities export --out ./identities.csv --reason "study COV-7, vote 12 of the board"`
    """
    access = person(Action.EXPORT, reason)
    opened = _opened(home, access)
    with _progress("exporting") as progress:
        done = identities.export(opened, out, access, progress)
    stdout.print(f"{done} identities are in {out}.", highlight=False)


@app.command()
def merge(
    from_id: Annotated[str, typer.Argument(metavar="FROM", help="CN-… of one patient.", show_default=False)],
    into_id: Annotated[str, typer.Argument(metavar="INTO", help="CN-… of the same person.", show_default=False)],
    reason: ReasonOption,
    home: HomeOption = None,
) -> None:
    """Say that two pseudonymous patients are one person: series of FROM to come carry the id and dates of INTO.

    What was de-identified before stays as it is, and its results find their patient.

    Example: `covnode identities merge CN-2FIJAZK67NBXRIEPECSB2TUVBE CN-TTMO6RRYQ3JXA2N4ZP5PWQ3M7I --reason "HL7 A40"`
    """
    access = person(Action.MERGE, reason)
    heading = identity_changes.merge(_opened(home, access), from_id, into_id, access)
    stdout.print(f"Series of {from_id} to come carry {heading}.", highlight=False)


@app.command()
def erase(
    patient_id: PatientArgument,
    reason: ReasonOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeOption = None,
) -> None:
    """Erase the identities of a patient: no look-up and no delivery finds the patient again. It cannot be undone.

    The images as received stay in the spool, which is named: remove them yourself, or a late slice or a new choice of
    such a series brings its identity back.

    Example: `covnode identities erase CN-2FIJAZK67NBXRIEPECSB2TUVBE --reason "request 2026-118"`
    """
    access = person(Action.ERASE, reason)
    opened = _opened(home, access)
    series_ids = identity_changes.series_of(opened.node, patient_id)
    if series_ids and not yes and not typer.confirm(f"Erase the identities of {len(series_ids)} series for ever?"):
        raise ConfigurationError("nothing was erased.")
    erased = identity_changes.erase(opened, patient_id, access)
    stdout.print(f"The identities of {len(erased)} series are erased: {', '.join(erased)}.", highlight=False)
    folders = identity_changes.spool_folders(opened.node, erased)
    if folders:
        stdout.print("Received images, identity inside, are still in:", highlight=False)
        for folder in folders:
            stdout.print(f"  {folder}", markup=False, highlight=False)
    elsewhere = identity_changes.left_elsewhere(opened.node, erased)
    if elsewhere:
        stdout.print("Other hosts still have spool/ and outbox/ of:", highlight=False)
        stdout.print(f"  {', '.join(elsewhere)}", markup=False, highlight=False)


@app.command()
def audit(
    last: Annotated[int, typer.Option(min=0, help="How many rows, the newest first; 0: all.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who did what with identities, newest first; deliveries are among it.

    Example: `covnode identities audit --json`
    """
    with node_of(home).transaction() as session:
        rows = trail.newest(session, last or None)
    if as_json:
        columns = ("at", "actor", "action", "outcome", "identities", "subjects", "reason")
        print_json([{column: getattr(row, column) for column in columns} for row in rows])
        return
    # Lines, not a table: no id of a trail may be cut off.
    for row in rows:
        what = f"{row.action} {row.outcome}, {row.identities} identities: {' '.join(row.subjects) or '-'}"
        stdout.print(f"{row.at:%Y-%m-%d %H:%M:%S} {row.actor}: {what} ({row.reason})", markup=False, highlight=False)
