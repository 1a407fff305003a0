"""``covnode series``: what came in, under our own ids."""

from typing import Annotated

import typer

from covnode.choose.rules import load_rules
from covnode.choose.score import ScoreSheet
from covnode.cli.console import HomeOption, JsonOption, LimitOption, node_of, print_json, show_found, show_rows, stdout
from covnode.errors import ConfigurationError, StaleClaim
from covnode.store import studies, views
from covnode.store.tables import SeriesRow, StudyRow
from covnode.wiring.choosing import judge, kept_sheet, rules_file
from covnode.wiring.lacking import refuse_without_files

SeriesId = Annotated[str, typer.Argument(help="An id of 'covnode series list'.")]

app = typer.Typer(no_args_is_help=True, help="What came in, under the node's own ids.")


@app.command("list")
def list_(home: HomeOption = None, limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List series, newest first.

    Example: `covnode series list --limit 1000 --json`
    """
    with node_of(home).transaction() as session:
        rows = views.list_series(session, limit)
    show_rows(["series_id", "state", "instances", "revision", "received_at", "from", "reason"], rows, as_json=as_json)


@app.command()
def show(
    series_id: SeriesId,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one series: why it counts as complete, its analyses, its deliveries.

    Example: `covnode series show ser-3f9c0a1b2c4d`
    """
    with node_of(home).transaction() as session:
        found = views.show_series(session, series_id)
    show_found(found, _missing(series_id), as_json=as_json)


@app.command()
def explain(series_id: SeriesId, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the score sheet of a series: every rule, whether it applies, and what came of it.

    Example: `covnode series explain ser-3f9c0a1b2c4d`
    """
    node = node_of(home)
    with node.transaction() as session:
        row = session.get(SeriesRow, series_id)
        study = session.get(StudyRow, row.study_id) if row is not None and row.study_id is not None else None
        came_to_nothing = None if study is None else studies.came_to_nothing(session, study)
    if row is None:
        raise ConfigurationError(_missing(series_id))
    sheet = kept_sheet(row)
    kept = sheet is not None
    if sheet is None:
        sheet = judge(node, row, load_rules(rules_file(node.home, node.settings)))
    about = {
        "series_id": series_id,
        "study_id": row.study_id,
        "state": row.state,
        "reason_code": row.reason_code,
        "reason": row.reason,
        "chosen_series_id": study.chosen_series_id if study else None,
        "choice_revision": study.choice_revision if study else None,
        "study_is_stat": study.stat if study else None,
        "study_came_to_nothing": came_to_nothing,
        "judged": "when it was complete" if kept else "now, by the rules in force",
    }
    if as_json:
        print_json({**about, "sheet": sheet.model_dump(mode="json")})
        return
    _show_sheet(sheet)
    show_found({key: value for key, value in about.items() if value is not None}, "", as_json=False)


@app.command()
def choose(series_id: SeriesId, home: HomeOption = None) -> None:
    """Have a series analysed although it was not chosen; no later series takes its place.

    Example: `covnode series choose ser-3f9c0a1b2c4d`
    """
    node = node_of(home)
    try:
        with node.transaction() as session:
            refuse_without_files(node, session, series_id)
            studies.choose_by_hand(session, series_id)
    except StaleClaim:
        raise ConfigurationError(
            f"{series_id} is not there, or neither waits for the choice nor was passed over or superseded by it: "
            "see 'covnode series list' ('covnode jobs retry' takes a quarantined series in again)."
        ) from None
    stdout.print(f"{series_id} will be analysed.", highlight=False)


def _show_sheet(sheet: ScoreSheet) -> None:
    rows = [{**line.model_dump(), "applies": "yes" if line.applies else ""} for line in sheet.lines]
    show_rows(["rule", "applies", "effect", "value"], rows, as_json=False)
    left_out = f", left out: {sheet.excluded}" if sheet.excluded else ""
    by_hand = ", chosen by a person" if sheet.by_hand else ""
    priority = f", priority {sheet.priority}" if sheet.priority else ""
    stdout.print(f"\nscore: {sheet.total:g}{left_out}{priority}{by_hand}", highlight=False, markup=False)


def _missing(series_id: str) -> str:
    return f"there is no series {series_id}: 'covnode series list' lists all."
