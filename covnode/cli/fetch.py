"""``covnode fetch``: a study or a patient's earlier CT studies, from an archive into this node."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from covnode.cli.console import (
    HomeOption,
    JsonOption,
    counting_progress,
    node_of,
    print_json,
    show_rows,
    stderr,
    stdout,
)
from covnode.deidentify import key_file
from covnode.errors import ConfigurationError, CovnodeError
from covnode.receive.query import FoundSeries
from covnode.receive.retrieve import SubOperations
from covnode.wiring.fetching import Fetched, Fetching, Prior, Way, peer_of

_SOMETHING_MISSING = 3


def fetch(
    *,
    peer: Annotated[str, typer.Option("--from", help="Name or AE title of a peer.")],
    study: Annotated[str, typer.Option(help="Study Instance UID.")] = "",
    series: Annotated[str, typer.Option(help="Series Instance UID: only this series of the study.")] = "",
    patient: Annotated[str, typer.Option(help="Patient ID, with --priors.")] = "",
    priors: Annotated[bool, typer.Option("--priors", help="All CT studies of the patient.")] = False,
    newest: Annotated[int | None, typer.Option(min=1, help="With --priors: only so many studies, the newest.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="With --priors: list them, fetch nothing.")] = False,
    by: Annotated[Way, typer.Option(help="move: the peer pushes to this node; get: on our own connection.")] = "move",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the CT series of a study, or a patient's earlier CT studies, from a peer; the node must run.

    They come in by the front door and go the way of every series. Exit code 3: something is missing.

    Example: `covnode fetch --from pacs --study 1.2.840.113619.2.55.3 --by get`
    """
    if bool(study) == bool(patient) or priors != bool(patient) or (series and not study) or (list_only and not priors):
        raise ConfigurationError(
            "fetch takes either --study UID, with --series UID for one series of it, or --patient ID --priors, "
            "with --list to look first."
        )
    # A warning of pydicom quotes the value that it warns about.
    warnings.simplefilter("ignore")
    node = node_of(home)
    fetching = Fetching(node, key_file.load(node.home.keys).digest, peer_of(node.settings, peer))
    if priors:
        found = fetching.priors(patient)[:newest]
        if list_only:
            _show_priors(found, as_json=as_json)
            return
        wanted = [item for prior in found for item in prior.series]
    else:
        wanted = fetching.ct_series(study, series)
    fetched, problem = _fetch_all(fetching, wanted, by)
    if fetched or problem is None:
        _show(peer, by, fetched, as_json=as_json)
    if problem is not None:
        raise problem
    if not fetched or not all(item.is_whole for item in fetched):
        raise typer.Exit(_SOMETHING_MISSING)


def _fetch_all(fetching: Fetching, wanted: Sequence[FoundSeries], by: Way) -> tuple[list[Fetched], CovnodeError | None]:
    """Fetch one series after the other, up to the first that cannot be fetched at all."""
    done: list[Fetched] = []
    known = [item.instances for item in wanted]
    with counting_progress() as progress:
        task = progress.add_task("fetching", total=sum(filter(None, known)) if all(known) else None)
        for series in wanted:
            before = sum(item.received + item.failed for item in done)
            try:
                done.append(fetching.fetch(series, by, partial(_advance, progress, task, before)))
            except CovnodeError as error:
                return done, error
    return done, None


def _advance(progress: Progress, task: TaskID, before: int, now: SubOperations) -> None:
    progress.update(task, completed=before + now.completed + now.failed)


def _show(peer: str, by: Way, fetched: Sequence[Fetched], *, as_json: bool) -> None:
    rows = [
        {"series_id": item.series_id, "expected": item.expected, "received": item.received, "failed": item.failed}
        for item in fetched
    ]
    is_whole = bool(fetched) and all(item.is_whole for item in fetched)
    if as_json:
        print_json({"peer": peer, "by": by, "is_whole": is_whole, "series": rows})
        return
    if not rows:
        stderr.print(f"{peer} has no CT series of that.", markup=False, highlight=False)
        return
    show_rows(["series_id", "expected", "received", "failed"], rows, as_json=False)
    total = sum(item.received for item in fetched)
    more = "" if is_whole else " Something is missing: the peer's log says why; fetch again."
    stdout.print(f"Fetched {total} instances of {len(rows)} series from {peer}.{more}", markup=False, highlight=False)


def _show_priors(found: Sequence[Prior], *, as_json: bool) -> None:
    rows = []
    for number, prior in enumerate(found, start=1):
        counts = [series.instances for series in prior.series]
        instances = sum(filter(None, counts)) if all(counts) else None
        rows.append(
            {
                "number": number,
                "ct_series": len(prior.series),
                "instances": instances,
                "series_here": list(prior.series_ids) if as_json else " ".join(prior.series_ids),
            }
        )
    show_rows(["number", "ct_series", "instances", "series_here"], rows, as_json=as_json)
