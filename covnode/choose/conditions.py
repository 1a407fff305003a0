"""Conditions of a rule: comparisons of what is known of a series, joined by all, any and not.

Made by grammar from TOML; asked by score. Data only, never evaluated code. A value that is absent fulfils no
comparison, not even ``not_equals``: only ``present = false`` and a ``not`` around it speak of what is not there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from covnode.choose.patterns import Pattern, found

Value = str | float | bool
Values = Mapping[str, tuple[Value, ...]]
"""From a name to all its values; a name that is not there is absent."""


@dataclass(frozen=True)
class Equals:
    """Any value is any of these; text whatever its case."""

    name: str
    wanted: tuple[Value, ...]

    def holds(self, values: tuple[Value, ...]) -> bool:
        """Whether these values fulfil it."""
        return any(_same(value, wanted) for value in values for wanted in self.wanted)


@dataclass(frozen=True)
class NotEquals:
    """There are values, and none is this one."""

    name: str
    unwanted: Value

    def holds(self, values: tuple[Value, ...]) -> bool:
        """Whether these values fulfil it."""
        return bool(values) and not any(_same(value, self.unwanted) for value in values)


@dataclass(frozen=True)
class Between:
    """Any value lies between the bounds; ``open``: and is neither of them."""

    name: str
    low: float
    high: float
    open: bool = False

    def holds(self, values: tuple[Value, ...]) -> bool:
        """Whether these values fulfil it."""
        numbers = [value for value in values if isinstance(value, float)]
        if self.open:
            return any(self.low < number < self.high for number in numbers)
        return any(self.low <= number <= self.high for number in numbers)


@dataclass(frozen=True)
class Matches:
    """The pattern is found in any value."""

    name: str
    pattern: Pattern

    def holds(self, values: tuple[Value, ...]) -> bool:
        """Whether these values fulfil it."""
        return any(isinstance(value, str) and found(self.pattern, value) for value in values)


@dataclass(frozen=True)
class Present:
    """There is a value, or there is none."""

    name: str
    wanted: bool

    def holds(self, values: tuple[Value, ...]) -> bool:
        """Whether these values fulfil it."""
        return bool(values) is self.wanted


Comparison = Equals | NotEquals | Between | Matches | Present


@dataclass(frozen=True)
class AllOf:
    """Holds when every part does."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class AnyOf:
    """Holds when at least one part does."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Not:
    """Holds when its part does not."""

    part: "Condition"


Condition = Comparison | AllOf | AnyOf | Not


def holds(condition: Condition, values: Values) -> bool:
    """Whether a series with these values fulfils the condition."""
    match condition:
        case AllOf(parts):
            return all(holds(part, values) for part in parts)
        case AnyOf(parts):
            return any(holds(part, values) for part in parts)
        case Not(part):
            return not holds(part, values)
        case _:
            return condition.holds(values.get(condition.name, ()))


def comparisons(condition: Condition) -> Iterator[Comparison]:
    """Every comparison of a condition, in the order of the text."""
    match condition:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from comparisons(part)
        case Not(part):
            yield from comparisons(part)
        case _:
            yield condition


def _same(value: Value, other: Value) -> bool:
    if isinstance(value, str) and isinstance(other, str):
        return value.casefold() == other.casefold()
    # To Python, but to nobody who writes a rule, true equals 1.
    return isinstance(value, bool) is isinstance(other, bool) and value == other
