"""The grammar of a condition: from plain values of TOML to covnode.choose.conditions, or what is wrong with them.

Called by rules. ``{ tag = NAME, OPERATOR = VALUE }``, ``{ all = [...] }``, ``{ any = [...] }`` and ``{ not = {...} }``.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping

from covnode.choose.conditions import (
    AllOf,
    AnyOf,
    Between,
    Comparison,
    Condition,
    Equals,
    Matches,
    Not,
    NotEquals,
    Present,
    Value,
)
from covnode.choose.names import Kind, kind_of
from covnode.choose.patterns import compile_pattern
from covnode.errors import ConfigurationError

_DEEPEST = 8


def condition_of(value: object, depth: int = 0) -> Condition:
    """Make a condition of what TOML says.

    Raises
    ------
    ConfigurationError
        It is none; the message says what is wrong.
    """
    if depth > _DEEPEST:
        raise ConfigurationError(f"conditions lie more than {_DEEPEST} deep in each other")
    if not isinstance(value, dict):
        raise ConfigurationError("a condition is a table such as { tag = 'Modality', equals = 'CT' }")
    if "tag" in value:
        return _comparison(value)
    if len(value) != 1:
        raise ConfigurationError("a condition holds 'tag' and one comparison, or one of 'all', 'any' and 'not' alone")
    ((word, inner),) = value.items()
    if word == "not":
        return Not(condition_of(inner, depth + 1))
    if word not in {"all", "any"}:
        raise ConfigurationError(unknown(word, ("tag", "all", "any", "not")))
    if not isinstance(inner, list) or not inner:
        raise ConfigurationError(f"'{word}' is a list of conditions, and not an empty one")
    parts = tuple(condition_of(part, depth + 1) for part in inner)
    return AllOf(parts) if word == "all" else AnyOf(parts)


def unknown(word: str, known: Iterable[str]) -> str:
    """Say that there is no such word, which one may be meant, or which there are."""
    choices = list(known)
    near = difflib.get_close_matches(word, choices, n=1)
    return f"there is no '{word}'" + (f"; is '{near[0]}' meant?" if near else f"; it is one of {', '.join(choices)}")


def finite(value: object) -> float:
    """Return a number as a float.

    Raises
    ------
    ConfigurationError
        It is none, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError("a number is needed")
    return float(value)


def _comparison(value: Mapping[str, object]) -> Comparison:
    name = value["tag"]
    if not isinstance(name, str):
        raise ConfigurationError("'tag' is a DICOM keyword or a fact, as text")
    kind = kind_of(name)
    rest = {word: operand for word, operand in value.items() if word != "tag"}
    if len(rest) != 1:
        raise ConfigurationError(f"'{name}' needs exactly one comparison: {', '.join(_OPERATORS)}")
    ((operator, operand),) = rest.items()
    if operator not in _OPERATORS:
        raise ConfigurationError(unknown(operator, _OPERATORS))
    try:
        return _OPERATORS[operator](name, kind, operand)
    except ConfigurationError as error:
        raise ConfigurationError(f"'{name}' {operator}: {error}") from None


def _value(kind: Kind, operand: object) -> Value:
    if kind is Kind.NUMBER:
        return finite(operand)
    wanted = str if kind is Kind.TEXT else bool
    if not isinstance(operand, wanted):
        raise ConfigurationError(f"it is {kind}, so it is compared with {kind}")
    return operand


def _equals(name: str, kind: Kind, operand: object) -> Comparison:
    return Equals(name, (_value(kind, operand),))


def _not_equals(name: str, kind: Kind, operand: object) -> Comparison:
    return NotEquals(name, _value(kind, operand))


def _in(name: str, kind: Kind, operand: object) -> Comparison:
    if not isinstance(operand, list) or not operand:
        raise ConfigurationError("a list of values is needed, and not an empty one")
    return Equals(name, tuple(_value(kind, item) for item in operand))


def _less_than(name: str, kind: Kind, operand: object) -> Comparison:
    _require(kind, Kind.NUMBER)
    return Between(name, -math.inf, finite(operand), open=True)


def _greater_than(name: str, kind: Kind, operand: object) -> Comparison:
    _require(kind, Kind.NUMBER)
    return Between(name, finite(operand), math.inf, open=True)


def _range(name: str, kind: Kind, operand: object) -> Comparison:
    _require(kind, Kind.NUMBER)
    if not isinstance(operand, list) or len(operand) != 2:
        raise ConfigurationError("two numbers are needed: [least, greatest]")
    low, high = finite(operand[0]), finite(operand[1])
    if low > high:
        raise ConfigurationError("the first number is the greater one: no value lies between")
    return Between(name, low, high)


def _matches(name: str, kind: Kind, operand: object) -> Comparison:
    _require(kind, Kind.TEXT)
    if not isinstance(operand, str):
        raise ConfigurationError("a pattern is needed, as text")
    return Matches(name, compile_pattern(operand))


def _present(name: str, kind: Kind, operand: object) -> Comparison:  # noqa: ARG001 (any kind can be present)
    if not isinstance(operand, bool):
        raise ConfigurationError("true or false is needed")
    return Present(name, operand)


def _require(kind: Kind, wanted: Kind) -> None:
    if kind is not wanted:
        raise ConfigurationError(f"this compares {wanted}, and the values are {kind}")


_OPERATORS: Mapping[str, Callable[[str, Kind, object], Comparison]] = {
    "equals": _equals,
    "not_equals": _not_equals,
    "less_than": _less_than,
    "greater_than": _greater_than,
    "range": _range,
    "in": _in,
    "matches": _matches,
    "present": _present,
}
