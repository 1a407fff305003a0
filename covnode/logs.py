"""Structured logs of every process: one JSON object a line on stderr, no identifier in any of them.

Called once by each process at its start, never at import. Other libraries' loggers are closed on purpose: pydicom and
pynetdicom quote element values and UIDs in their messages, DBOS quotes arguments, uvicorn paths, and asyncio whatever
a task held; what matters of their events is logged by covnode under its own ids.
"""

import contextlib
import logging
import sys
import threading
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import TextIO, cast

import structlog

_CLOSED_LOGGERS = (
    "pydicom",
    "pynetdicom",
    "highdicom",
    "dbos",
    "alembic",
    "sqlalchemy",
    "lungmask",
    "uvicorn",
    "python_multipart",
    "asyncio",
    "concurrent",
)


def _with_role(role: str) -> structlog.typing.Processor:
    """Put the role into the lines of every thread."""

    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["role"] = role
        return event

    return add


class _BestEffort:
    """A stream that goes without a line which it cannot write, on a full disk say: no work may end for its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logs(level: str, role: str) -> None:
    """Set the process up to log as JSON lines to stderr, with ``role`` in each line."""
    for name in _CLOSED_LOGGERS:
        closed = logging.getLogger(name)
        closed.handlers = [logging.NullHandler()]
        closed.propagate = False
    # A warning of pydicom quotes the value that it warns about.
    warnings.simplefilter("ignore")
    structlog.configure(
        processors=[
            _with_role(role),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _BestEffort(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    # What Python prints of an error that nobody caught holds its message, and that may quote a value.
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_end_of_thread


def _log_uncaught(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _log_death(kind, trace, threading.current_thread().name)


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    if end.exc_type is not SystemExit:
        _log_death(end.exc_type, end.exc_traceback, end.thread.name if end.thread else "")


def _log_death(kind: type[BaseException], trace: TracebackType | None, thread: str) -> None:
    frames = traceback.extract_tb(trace, limit=-1)
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    get_logger().error("uncaught_error", error=kind.__name__, thread=thread, where=where[0] if where else "")


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger: an event name and fields, our own ids only."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
