"""Takes a multipart body apart as it comes, and holds no more of it than the chunk at hand.

Comes from the body of an HTTP request; goes part by part to a sink. It never looks into a part.
"""

from typing import Protocol

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from covnode.dicom.dimse import CANNOT_UNDERSTAND
from covnode.errors import InstanceRefused

_MAX_PARTS = 50_000


class PartSink(Protocol):
    """Where the parts go, in order."""

    def begin(self, headers: dict[str, str]) -> None:
        """Open a part; the names of its headers are in lower case."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the open part; the memory is the sink's until it returns."""

    def end(self) -> None:
        """Close the open part: it is whole."""


class MultipartBody:
    """A parser of one body."""

    def __init__(self, boundary: bytes, sink: PartSink) -> None:
        self._sink = sink
        self._parts = 0
        self._ended = False
        self._headers: dict[str, str] = {}
        self._name = bytearray()
        self._value = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": sink.end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise InstanceRefused("the boundary is too long", CANNOT_UNDERSTAND) from None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises
        ------
        InstanceRefused
            They are not multipart, or there are too many parts: what was whole before is with the sink.
        """
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise InstanceRefused("the body is not well-formed multipart", CANNOT_UNDERSTAND) from None

    def finish(self) -> None:
        """Take the end of the body.

        Raises
        ------
        InstanceRefused
            The last boundary is missing: the body was cut off.
        """
        if not self._ended:
            raise InstanceRefused("the body ends before its last boundary", CANNOT_UNDERSTAND)

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise InstanceRefused(f"the body has more than {_MAX_PARTS} parts", CANNOT_UNDERSTAND)
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1").strip()
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        self._sink.begin(self._headers)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._sink.write(memoryview(data)[start:end])

    def _on_end(self) -> None:
        self._ended = True
