"""Remembers what came of a value, since most elements are the same in every instance of a series.

Comes from the engine and from its check, each with memories of its own for one series; goes back to them. Never holds
more than 8 MiB of values. A key has to name everything that the outcome depends on.
"""

from typing import TypeVar

_MOST, _LONGEST_BYTES = 4096, 2048

Key = TypeVar("Key")
Outcome = TypeVar("Outcome")


class Remembered(dict[Key, Outcome]):
    """A dictionary that forgets everything when it is full."""

    def __setitem__(self, key: Key, outcome: Outcome) -> None:
        """Remember one more."""
        if len(self) >= _MOST:
            self.clear()
        super().__setitem__(key, outcome)


def is_short(length: int) -> bool:
    """Whether a value of so many bytes may be remembered."""
    return length <= _LONGEST_BYTES
