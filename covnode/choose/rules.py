"""The rules of the choice: a TOML file of conditions and effects, read once and held against the grammar.

Comes from the file that ships (rules.toml) or one of the site; goes to facts (which names are asked for) and score.
Data only: nothing in the file is ever evaluated, and what does not fit the grammar keeps the node from starting.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from covnode.choose.conditions import Condition, comparisons
from covnode.choose.grammar import condition_of, finite, unknown
from covnode.choose.names import COMPUTED
from covnode.errors import ConfigurationError
from covnode.records.job import Priority

SHIPPED = Path(__file__).parent / "rules.toml"

_EFFECTS = ("exclude", "score", "priority")
_KEYS = ("name", "when", *_EFFECTS)
_LARGEST_BYTES = 1 << 18
_LARGEST_SCORE = 1000.0


@dataclass(frozen=True)
class Rule:
    """One rule; exactly one of its effects is set.

    Attributes
    ----------
    exclude
        Why a series that fulfils the condition is left out.
    score
        Points that it gets.
    priority
        When its analysis is claimed; STAT also hurries its study, which is not waited for.
    """

    name: str
    condition: Condition
    exclude: str | None = None
    score: float | None = None
    priority: Priority | None = None

    @property
    def effect(self) -> str:
        """The effect in words."""
        if self.exclude is not None:
            return "leaves it out"
        return f"priority {self.priority.word}" if self.priority else f"{self.score:+g}"


@dataclass(frozen=True)
class Rules:
    """All rules in force, in the order of the file; ``sha256`` names the text that they were read from."""

    rules: tuple[Rule, ...]
    sha256: str

    @cached_property
    def keywords(self) -> frozenset[str]:
        """DICOM keywords that the rules ask for."""
        names = {comparison.name for rule in self.rules for comparison in comparisons(rule.condition)}
        return frozenset(names - set(COMPUTED))

    @property
    def may_hurry(self) -> bool:
        """Whether a rule may let a series go without waiting for its study."""
        return any(rule.priority == Priority.STAT for rule in self.rules)


def load_rules(path: Path) -> Rules:
    """Read a file of rules.

    Raises
    ------
    ConfigurationError
        It cannot be read, or does not fit the grammar; the message names the file and the rule.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the rules {path} cannot be read: {error.strerror}.") from None
    if len(content) > _LARGEST_BYTES:
        raise ConfigurationError(f"the rules {path} are longer than {_LARGEST_BYTES >> 10} KiB.")
    return parse_rules(content, str(path))


def parse_rules(content: bytes, source: str) -> Rules:
    """Make rules of the text of a file; ``source`` names it in an error.

    Raises
    ------
    ConfigurationError
        As `load_rules`.
    """
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{source} is not a text in UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{source} is not valid TOML: {error}.") from None
    tables = document.get("rule")
    if set(document) - {"rule"} or not isinstance(tables, list) or not tables:
        raise ConfigurationError(f"{source} is no file of rules: it holds [[rule]] tables, at least one, and no more.")
    rules: dict[str, Rule] = {}
    for number, table in enumerate(tables, start=1):
        where = f"{source}: rule {number}"
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            where = f"{source}: rule '{table['name']}'"
        try:
            rule = _rule(table)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}{'' if str(error).endswith('?') else '.'}") from None
        if rule.name in rules:
            raise ConfigurationError(f"{where}: there is another rule of this name.")
        rules[rule.name] = rule
    return Rules(tuple(rules.values()), hashlib.sha256(content).hexdigest())


def _rule(table: object) -> Rule:
    if not isinstance(table, dict):
        raise ConfigurationError("it is no table")
    for key in table:
        if key not in _KEYS:
            raise ConfigurationError(unknown(key, _KEYS))
    name = _text(table.get("name"), "name")
    effects = [effect for effect in _EFFECTS if effect in table]
    if len(effects) != 1:
        raise ConfigurationError(
            "it needs exactly one effect: exclude = 'the reason', score = a number, or priority = 'stat'"
        )
    if "when" not in table:
        raise ConfigurationError("it has no condition: when = { tag = 'Modality', equals = 'CT' }")
    condition = condition_of(table["when"])
    match effects[0]:
        case "exclude":
            return Rule(name, condition, exclude=_text(table["exclude"], "exclude"))
        case "score":
            return Rule(name, condition, score=_score(table["score"]))
    return Rule(name, condition, priority=_priority(table["priority"]))


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or not value.isprintable():
        raise ConfigurationError(f"'{key}' is a text of one line, up to 200 characters")
    return value.strip()


def _priority(value: object) -> Priority:
    priorities = {priority.word: priority for priority in Priority}
    if not isinstance(value, str) or value not in priorities:
        raise ConfigurationError(f"'priority' is one of {', '.join(priorities)}")
    return priorities[value]


def _score(value: object) -> float:
    try:
        score = finite(value)
    except ConfigurationError:
        raise ConfigurationError("'score' is a number") from None
    if abs(score) > _LARGEST_SCORE:
        raise ConfigurationError(f"'score' is no greater than {_LARGEST_SCORE:g}, up or down")
    return score
