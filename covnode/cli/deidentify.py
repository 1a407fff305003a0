"""``covnode deidentify``: a folder of DICOM files in, the same without identity out; no network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from covnode import __version__
from covnode.cli.console import (
    HomeOption,
    JsonOption,
    counting_progress,
    home_of,
    node_of,
    print_json,
    show_rows,
    stdout,
)
from covnode.deidentify import key_file
from covnode.deidentify.dry_run import Attribute
from covnode.deidentify.key_file import KeyFile
from covnode.deidentify.keys import Pseudonyms
from covnode.deidentify.options import METHOD, BurnedInText
from covnode.deidentify.profile import Profile
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.sections import DeidentifyOption, DeidentifySettings
from covnode.settings import load_settings, validated
from covnode.wiring.deidentify_profile import profile_of
from covnode.wiring.deidentifying import (
    Inputs,
    SeriesOutcome,
    Unreadable,
    check_out,
    deidentify_inputs,
    foretell_attributes,
    foretell_series,
    read_inputs,
)
from covnode.wiring.patients import PatientsInStore

_SOMETHING_REFUSED = 1
_OF_K_AND_C = "K and C: a value of another form than the rule asks for is emptied, or goes as the Basic Profile says."
_NAMES = ", ".join(get_args(DeidentifyOption))


def deidentify(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A folder of DICOM files, or one file.", exists=True, show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT", help="Folder to make; it must not exist or be empty. Not asked for with --dry-run."
        ),
    ] = None,
    *,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what --json prints to a file, too.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: list every attribute and what would become of it.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"An option beside the Basic Profile, again for each; in place of the configuration's: {_NAMES}.",
            show_default=False,
        ),
    ] = None,
    dates: Annotated[
        str | None,
        typer.Option(metavar="modified|full|removed", help="What becomes of dates and times.", show_default=False),
    ] = None,
    safe_private: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Private attributes that stay: CSV with the columns creator, tag (as 0019,xx23) and vr.",
            show_default=False,
        ),
    ] = None,
    burned_in_text: Annotated[
        BurnedInText | None,
        typer.Option(
            help="Text found in the pixels: hold the series back, or overwrite it and write what is left.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """De-identify a folder as the node does (PS3.15 Annex E): series-001, series-002, ... in OUT, with its pseudonyms.

    A series that holds a doubt is refused whole, with its reason, and not written. Files of the input are named by
    their number in the sorted order of their paths. Exit code 1: a series was refused or a file could not be read.

    Example: `covnode deidentify /data/in /data/out`

    Example: `covnode deidentify /data/in /data/out --burned-in-text mask`

    Example: `covnode deidentify /data/in --dry-run --json`

    Example: `covnode deidentify /data/in /data/out --option clean_descriptors --option retain_uids --dates full`
    """
    private = None if safe_private is None else str(safe_private)
    text = None if burned_in_text is None else burned_in_text.value
    given = {"options": option, "dates": dates, "safe_private": private, "burned_in_text": text}
    profile = _profile_of(home_of(home), given)
    if dry_run:
        if report is not None:
            raise typer.BadParameter("a dry run writes nothing: use --json.", param_hint="--report")
        _foretell(source, profile, as_json=as_json)
        return
    if out is None:
        raise typer.BadParameter("name the folder to write to, or use --dry-run.", param_hint="OUT")
    check_out(source, out)
    pseudonyms = _pseudonyms_of(home_of(home))
    if report is not None:
        _check_report(report)
    with counting_progress() as progress:
        task = progress.add_task("reading", total=None)
        inputs = read_inputs(source, lambda done, total: progress.update(task, completed=done, total=total))
        task = progress.add_task("de-identifying", total=sum(map(len, inputs.series)))
        outcomes = []
        for outcome in deidentify_inputs(inputs, out, pseudonyms, profile):
            outcomes.append(outcome)
            progress.advance(task, len(outcome.files))
    told = _header(profile) | {"series": [_as_json(outcome, "written") for outcome in outcomes]}
    told |= _left_out(inputs, inputs.unreadable)
    if report is not None:
        _write_report(report, told)
    _show(told, as_json=as_json)


def _foretell(source: Path, profile: Profile, *, as_json: bool) -> None:
    with counting_progress() as progress:
        task = progress.add_task("reading", total=None)
        inputs = read_inputs(source, lambda done, total: progress.update(task, completed=done, total=total))
        outcomes = foretell_series(inputs, profile)
        files = [file for series in inputs.series for file in series]
        task = progress.add_task("listing attributes", total=len(files))
        counts, unreadable = foretell_attributes(
            files, profile, lambda done, _total: progress.update(task, completed=done)
        )
    told = _header(profile) | {"attributes": _attributes(counts)}
    told |= {"series": [_foretold(outcome) for outcome in outcomes]}
    told |= _left_out(inputs, (*inputs.unreadable, *unreadable))
    if not as_json:
        _show_attributes(told["attributes"])
        stdout.print(_OF_K_AND_C, highlight=False)
    _show(told, as_json=as_json)


def _profile_of(home: Home, given: Mapping[str, object]) -> Profile:
    """Make the profile of the configuration, if there is one, and of what the command line puts in its place."""
    configured = load_settings(home).deidentify if home.config.exists() else DeidentifySettings()
    said = {
        name: str(value) if isinstance(value, Path) else value for name, value in given.items() if value is not None
    }
    try:
        settings = validated({"deidentify": configured.model_dump() | said}, "the command line").deidentify
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None
    return profile_of(settings)


def _pseudonyms_of(home: Home) -> Pseudonyms:
    """Return the node's pseudonyms, with its memory of patients; a key file alone gives those of its newest key."""
    if not home.keys.exists():
        raise ConfigurationError(
            f"{home.root} holds no key of a node: run `covnode init`, or name the node's folder by --home or "
            "COVNODE_HOME."
        )
    if not home.config.exists():
        ring = key_file.load(home.keys)
        return ring.of_generation(ring.newest)
    return PatientsInStore(node_of(home.root).transaction, KeyFile(home.keys))


def _check_report(report: Path) -> None:
    """Refuse early what would be refused after all the work."""
    if report.exists():
        raise ConfigurationError(f"{report} exists already: name another file for the report.")
    if not report.parent.is_dir():
        raise ConfigurationError(f"{report.parent} is no folder: name a file in one that is there for the report.")


def _write_report(report: Path, told: Mapping[str, object]) -> None:
    try:
        with report.open("x", encoding="utf-8") as file:
            file.write(json.dumps(told, indent=2) + "\n")
    except OSError as error:
        raise ConfigurationError(
            f"The series are written, but not the report {report}: {error.strerror}. `--json` prints the same."
        ) from None


def _header(profile: Profile) -> dict[str, Any]:
    """State what did it, and by which rules."""
    basic, *options = [{"code": code, "scheme": "DCM", "meaning": meaning} for code, meaning in profile.method_codes]
    return {"software": "covnode", "version": __version__, "method": METHOD, "profile": basic, "options": options}


def _as_json(outcome: SeriesOutcome, verdict: str) -> dict[str, Any]:
    return {
        "number": outcome.number,
        "folder": outcome.folder if outcome.code is None else None,
        "first_file": outcome.files[0].number,
        "files": len(outcome.files),
        "instances": outcome.instances,
        "verdict": verdict if outcome.code is None else "refused",
        "reason_code": outcome.code,
        "reason": outcome.reason,
    }


def _foretold(outcome: SeriesOutcome) -> dict[str, Any]:
    row = _as_json(outcome, "not refused by its headers")
    del row["folder"], row["instances"]
    return row | {"frames_looked_at": outcome.frames_looked_at}


def _attributes(counts: Mapping[Attribute, int]) -> list[dict[str, Any]]:
    return [
        {
            "path": attribute.path,
            "keyword": attribute.keyword,
            "vr": attribute.vr,
            "action": attribute.action.value,
            "source": attribute.source,
            "instances": instances,
        }
        for attribute, instances in counts.items()
    ]


def _show_attributes(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("path", "keyword", "vr", "action", "instances", "source"):
        table.add_column(name, overflow="fold")  # a path that is cut off says nothing
    for row in rows:
        table.add_row(*[str(row[str(column.header)]) for column in table.columns])
    stdout.print(table, markup=False, highlight=False)


def _left_out(inputs: Inputs, unreadable: Sequence[Unreadable]) -> dict[str, Any]:
    return {
        "not_dicom": inputs.not_dicom,
        "dicomdirs": inputs.dicomdirs,
        "folders_left_out": inputs.folders_left_out,
        "unreadable": [
            {"file": file.number, "reason": file.reason} for file in sorted(unreadable, key=lambda file: file.number)
        ],
    }


def _show(told: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the verdict on each series and what was left out, and exit by it."""
    if as_json:
        print_json(told)
    else:
        rows: list[dict[str, Any]] = told["series"]
        if rows:
            show_rows([name for name in rows[0] if name != "reason"], rows, as_json=False)
        for line in _lines(told):
            stdout.print(line, markup=False, highlight=False)
    refused = any(series["verdict"] == "refused" for series in told["series"])
    if refused or told["unreadable"] or told["folders_left_out"]:
        raise typer.Exit(_SOMETHING_REFUSED)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    for series in told["series"]:
        if series["reason"]:
            yield f"Series {series['number']} is refused: {series['reason']}."
    if told["not_dicom"]:
        yield f"Left out {told['not_dicom']} files that are not DICOM Part 10."
    if told["dicomdirs"]:
        yield f"Left out {told['dicomdirs']} DICOMDIR."
    if told["folders_left_out"]:
        yield f"Left out {told['folders_left_out']} folders that may not be entered or are links."
    for file in told["unreadable"]:
        yield f"File {file['file']} (in the sorted order of the paths) cannot be read: {file['reason']}."
