"""The bearer tokens of STOW-RS: a file of them, read again when it changes.

Comes from the file that ``stow.token_file`` names; says who sends. Only digests of the tokens are kept in memory.
"""

import hashlib
import hmac
import threading
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from covnode.errors import ConfigurationError
from covnode.logs import get_logger
from covnode.settings import AETitle

UNNAMED_SENDER = "STOW"
"""Source AE title of what comes with a token without label, or without a token."""

_MIN_TOKEN_LENGTH = 16
_SCHEME = "bearer"
_AE_TITLE: TypeAdapter[str] = TypeAdapter(AETitle)


@dataclass(frozen=True)
class _Token:
    source_ae_title: str
    sha256: bytes


class TokenFile:
    """One token a line, or ``label:token``; the label stands as AE title of the sender. A ``#`` begins a comment.

    Raises
    ------
    ConfigurationError
        The file cannot be read or a line is no token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version = self._stat()
        self._tokens = self._read()

    def source_of(self, authorization: str | None) -> str | None:
        """Return who sends, or None when the Authorization header holds none of the tokens."""
        scheme, _, token = (authorization or "").partition(" ")
        offered = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for known in self._current():  # all of them: the time tells nothing of the place
            if hmac.compare_digest(known.sha256, offered):
                found = known.source_ae_title
        return found if scheme.lower() == _SCHEME else None

    def _current(self) -> tuple[_Token, ...]:
        with self._lock:
            try:
                version = self._stat()
                if version != self._version:
                    self._version = version
                    self._tokens = self._read()
                    get_logger().info("stow_tokens_read_again", tokens=len(self._tokens))
            except ConfigurationError as error:
                # A file that is gone or broken lets nobody in: whoever revokes a token must be able to rely on it.
                self._version = None
                self._tokens = ()
                get_logger().error("stow_tokens_unusable", reason=str(error))
            return self._tokens

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"stow.token_file: {self._path} cannot be read: {error.strerror}.") from None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> tuple[_Token, ...]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigurationError(f"stow.token_file: {self._path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"stow.token_file: {self._path} is not a text in UTF-8.") from None
        numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        tokens = tuple(self._parse(number, line) for number, line in numbered if line and not line.startswith("#"))
        if not tokens:
            raise ConfigurationError(
                f"stow.token_file: {self._path} holds no token. Write one a line, such as the output of "
                "'openssl rand -hex 32'."
            )
        return tokens

    def _parse(self, number: int, line: str) -> _Token:
        label, _, token = line.rpartition(":")
        try:
            source = _AE_TITLE.validate_python(label.strip()) if label else UNNAMED_SENDER
        except ValidationError:
            raise ConfigurationError(
                f"stow.token_file: line {number} of {self._path}: the label before ':' is no AE title "
                "(at most 16 characters)."
            ) from None
        if len(token.strip()) < _MIN_TOKEN_LENGTH:
            raise ConfigurationError(
                f"stow.token_file: line {number} of {self._path}: a token has at least {_MIN_TOKEN_LENGTH} characters."
            )
        return _Token(source, hashlib.sha256(token.strip().encode()).digest())
