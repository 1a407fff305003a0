"""The score sheet of a series: every rule, whether it applies, and what it comes to.

Comes from rules and facts; goes to decision and, as JSON, to the database and the command line. Holds no identity: a
value is kept only where choose.names lets it be shown.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from covnode.choose.conditions import Comparison, comparisons, holds
from covnode.choose.facts import SeriesFacts
from covnode.choose.names import shown
from covnode.choose.rules import Rule, Rules
from covnode.records.job import PriorityWord


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SheetLine(_Record):
    """One rule on one series.

    Attributes
    ----------
    effect
        What the rule does where it applies.
    value
        What it looked at: values that may be shown, else whether they match.
    """

    rule: str
    applies: bool
    effect: str
    value: str


class ScoreSheet(_Record):
    """Why a series is taken or not.

    Attributes
    ----------
    revision, instances
        Of the series that was judged: a sheet says nothing of a series that has grown since.
    rules_sha256
        Names the rules that judged it.
    total
        Sum of the points.
    excluded
        Reason of the first rule that leaves the series out; None: no rule does.
    priority
        The most urgent that a rule gives it; None: no rule does.
    by_hand
        A person chose the series.
    slices, thickness_mm
        Decide between equal totals.
    headers_read
        Files behind the sheet; 0: none could be read.
    """

    revision: int
    instances: int = 0
    rules_sha256: str
    total: float
    excluded: str | None = None
    priority: PriorityWord | None = None
    by_hand: bool = False
    slices: int = 0
    thickness_mm: float | None = None
    headers_read: int = 0
    lines: tuple[SheetLine, ...] = ()


def score(facts: SeriesFacts, rules: Rules, revision: int) -> ScoreSheet:
    """Apply every rule to a series."""
    applying = [rule for rule in rules.rules if holds(rule.condition, facts.values)]
    excluding = next((rule for rule in applying if rule.exclude is not None), None)
    given = [rule.priority for rule in applying if rule.priority]
    return ScoreSheet(
        revision=revision,
        rules_sha256=rules.sha256,
        total=round(sum(rule.score or 0.0 for rule in applying), 6),
        excluded=None if excluding is None else f"{excluding.exclude} (rule '{excluding.name}')",
        priority=min(given).word if given else None,
        slices=int(_number(facts, "slices") or 0),
        thickness_mm=_number(facts, "SliceThickness"),
        headers_read=facts.headers_read,
        lines=tuple(_line(rule, facts, applies=rule in applying) for rule in rules.rules),
    )


def _number(facts: SeriesFacts, name: str) -> float | None:
    return next((value for value in facts.values.get(name, ()) if isinstance(value, float)), None)


def _line(rule: Rule, facts: SeriesFacts, *, applies: bool) -> SheetLine:
    looked_at: dict[str, list[Comparison]] = {}
    for comparison in comparisons(rule.condition):
        looked_at.setdefault(comparison.name, []).append(comparison)
    parts = [_seen(name, found, facts) for name, found in looked_at.items()]
    return SheetLine(rule=rule.name, applies=applies, effect=rule.effect, value="; ".join(parts))


def _seen(name: str, asked: Sequence[Comparison], facts: SeriesFacts) -> str:
    values = facts.values.get(name, ())
    if not values:
        return f"{name} absent"
    visible = shown(name, values)
    if visible is not None:
        return f"{name} {visible}"
    return f"{name} {'matches' if any(comparison.holds(values) for comparison in asked) else 'does not match'}"
