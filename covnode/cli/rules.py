"""``covnode rules``: the rules by which series are chosen."""

from pathlib import Path
from typing import Annotated

import typer

from covnode.choose.rules import load_rules
from covnode.cli.console import HomeOption, JsonOption, home_of, node_of, print_json, show_rows, stdout
from covnode.settings import load_settings
from covnode.wiring.choosing import rules_file
from covnode.wiring.replaying import ReplayedStudy, past_studies, replay

app = typer.Typer(no_args_is_help=True, help="The rules by which the series of a study are chosen.")


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="A file of rules; without it the one in force.")] = None,
    home: HomeOption = None,
) -> None:
    """Check a file of rules: its grammar, its names, its patterns.

    Example: `covnode rules check rules.toml`
    """
    path = file if file is not None else _in_force(home)
    rules = load_rules(path)
    stdout.print(f"{path} is valid: {len(rules.rules)} rules.", highlight=False, markup=False)


@app.command()
def show(home: HomeOption = None) -> None:
    """Print the rules in force, as a file to start one's own from.

    Example: `covnode rules show > rules.toml`
    """
    path = _in_force(home)
    load_rules(path)
    print(path.read_text(encoding="utf-8"), end="")  # noqa: T201 (rich would wrap and colour it)


@app.command("replay")
def replay_(
    file: Annotated[Path, typer.Argument(help="The rules to try.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    study: Annotated[str | None, typer.Option(help="This study alone, such as std-3f9c0a1b2c4d.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many studies, the newest first.")] = 50,
) -> None:
    """Show what other rules would have chosen of past studies; changes nothing.

    Example: `covnode rules replay rules.toml --limit 20`
    """
    node, rules = node_of(home), load_rules(file)
    replayed = [replay(node, rules, study_id) for study_id in past_studies(node, study, limit)]
    if as_json:
        print_json([_record(result) for result in replayed])
        return
    rows = [
        {
            "study_id": result.study_id,
            "series": len(result.sheets),
            "chosen_now": ", ".join(result.chosen) or "none",
            "would_choose": ", ".join(result.would_choose) or "none",
            "differs": "yes" if _differs(result) else "",
        }
        for result in replayed
    ]
    show_rows(["study_id", "series", "chosen_now", "would_choose", "differs"], rows, as_json=False)
    for result in replayed:
        if result.unreadable:
            stdout.print(f"{result.study_id}: {result.unreadable} series without readable files.", highlight=False)
    changed = sum(_differs(result) for result in replayed)
    stdout.print(f"{changed} of {len(replayed)} studies would be chosen otherwise. Nothing was changed.")


def _in_force(home: Path | None) -> Path:
    place = home_of(home)
    return rules_file(place, load_settings(place))


def _differs(result: ReplayedStudy) -> bool:
    return set(result.chosen) != set(result.would_choose)


def _record(result: ReplayedStudy) -> dict[str, object]:
    return {
        "study_id": result.study_id,
        "chosen_now": list(result.chosen),
        "would_choose": list(result.would_choose),
        "differs": _differs(result),
        "series_without_readable_files": result.unreadable,
        "sheets": {series_id: sheet.model_dump(mode="json") for series_id, sheet in result.sheets.items()},
    }
