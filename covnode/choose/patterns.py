"""Regular expressions that a file of rules may hold, by RE2: no value can keep one busy for long.

Called by conditions and rules. RE2 matches in linear time and knows neither look-around nor back-references, so that
a value that a modality wrote never stops the receiver, whatever pattern the site chose.
"""

from typing import Protocol, cast

import re2

from covnode.errors import ConfigurationError

LONGEST_PATTERN = 200
LONGEST_VALUE = 256
"""Characters of a value that are looked at; LO, the longest text of one line, has 64 (PS3.5 section 6.2)."""

_MEMORY_BYTES = 1 << 20


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> object | None:
        """Return something where the pattern is found anywhere in the text."""
        ...


def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern that is found anywhere in a value, whatever its case.

    Raises
    ------
    ConfigurationError
        It is too long, or does not compile; the message says why.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise ConfigurationError(f"the pattern is longer than {LONGEST_PATTERN} characters")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        return cast("Pattern", re2.compile(pattern, options))
    except (re2.error, UnicodeError) as error:
        said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else "it is no UTF-8"
        raise ConfigurationError(f"the pattern does not compile: {said}") from None


def found(pattern: Pattern, value: str) -> bool:
    """Whether the pattern occurs in the first characters of the value."""
    readable = value[:LONGEST_VALUE].encode("utf-8", "replace").decode()
    return pattern.search(readable) is not None
