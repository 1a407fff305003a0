"""STOW-RS (PS3.18 section 10.5): instances in by HTTP, answered as stored only when they are durable.

Comes from the web server, chunk by chunk; goes to an upload in a worker thread, so that several requests run at a time.
It decides who may send and what the answer is; it reads no instance, and its log names none.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread
from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from covnode.errors import InstanceRefused
from covnode.logs import get_logger
from covnode.receive.instance_facts import is_uid
from covnode.receive.stow_answer import status_of, store_response
from covnode.receive.stow_upload import Upload, UploadSource, UploadStage

_ANSWER_TYPE = "application/dicom+json"
_RETRY_AFTER = {"Retry-After": "30"}
_CLOSE = {"Connection": "close"}

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Refusal:
    """An answer to a request of which nothing is read."""

    status: int
    text: str
    headers: Mapping[str, str] | None = None


_UNKNOWN_SENDER = _Refusal(401, "A bearer token of this node is needed.", {"WWW-Authenticate": "Bearer"})
_BUSY = _Refusal(503, "Too many requests are under way: try again later.", _RETRY_AFTER)
_CLOSED = _Refusal(503, "The node takes nothing now: try again later.", _RETRY_AFTER)


@dataclass(frozen=True)
class StowLimits:
    """How much at a time, and for how long.

    Attributes
    ----------
    silence_s
        A request whose body does not go on for this long is given up.
    request_s
        A request is given up after this long, whatever it does.
    """

    max_requests: int
    silence_s: float
    request_s: float


@dataclass(frozen=True)
class StowAdmission:
    """Who may send.

    Attributes
    ----------
    admits_address
        Whether an IP address may connect.
    source_of
        Who sends, by the Authorization header; None: nobody whom we know.
    """

    admits_address: Callable[[str], bool]
    source_of: Callable[[str | None], str | None]


class StowService:
    """The Store transaction, as an ASGI application."""

    def __init__(self, stage: UploadStage, admission: StowAdmission, limits: StowLimits) -> None:
        self._stage = stage
        self._admission = admission
        self._limits = limits
        self._threads = anyio.CapacityLimiter(limits.max_requests)
        self._endings = ThreadPoolExecutor(limits.max_requests, "stow-end")
        self._running = 0
        self._log = get_logger()

    def application(self) -> Starlette:
        """Return the application: POST /studies and POST /studies/{StudyInstanceUID}."""
        paths = ("/studies", "/studies/{study}")
        return Starlette(routes=[Route(path, self._answer, methods=["POST"]) for path in paths])

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._store(request)
        except Exception as error:  # noqa: BLE001 (the edge: whatever it is, the sender is to keep its instances)
            self._log.error("stow_failed", error=type(error).__name__)
            return PlainTextResponse("The node failed.\n", status_code=500)

    async def _store(self, request: Request) -> Response:
        admission = self._admission
        if not admission.admits_address(_address_of(request)):
            return self._refuse(request, _Refusal(403, "This address may not send."))
        source_ae_title = admission.source_of(request.headers.get("authorization"))
        if source_ae_title is None:
            return self._refuse(request, _UNKNOWN_SENDER)
        boundary = _boundary_of(request)
        if isinstance(boundary, _Refusal):
            return self._refuse(request, boundary)
        if self._running >= self._limits.max_requests:
            return self._refuse(request, _BUSY)
        self._running += 1
        try:
            if (closed := await self._in_thread(self._stage.gate.closed_because)) is not None:
                self._log.warning("stow_closed", reason=closed)
                return self._refuse(request, _CLOSED)
            source = UploadSource(f"stow-{uuid.uuid4().hex}", source_ae_title, request.path_params.get("study"))
            return await self._receive(request, source, boundary)
        finally:
            self._running -= 1

    async def _receive(self, request: Request, source: UploadSource, boundary: bytes) -> Response:
        try:
            upload = Upload(self._stage, source, boundary)
        except InstanceRefused as refusal:
            return self._refuse(request, _Refusal(400, f"The request cannot be read: {refusal}."))
        began_s = time.monotonic()
        size_bytes = 0
        status = 0  # nobody is there to be answered
        try:
            with anyio.fail_after(self._limits.request_s):
                async for chunk in self._chunks(request):
                    size_bytes += len(chunk)
                    await self._in_thread(upload.feed, chunk)
            await self._in_thread(upload.finish)
            status = status_of(upload.outcomes, malformed=upload.malformed)
        except ClientDisconnect:
            pass
        except TimeoutError:
            status = 408
        finally:
            end = partial(self._end, upload, source, status)
            figures = {"size_bytes": size_bytes, "seconds": round(time.monotonic() - began_s, 3)}
            # In a thread, for it waits for the receiver; of a pool, so that it is done even where a server that stops
            # cancels whatever is awaited here.
            ending = self._endings.submit(end, address=_address_of(request), **figures)
            await asyncio.shield(asyncio.wrap_future(ending))
        headers = _RETRY_AFTER if status == 503 else {}
        if status in {0, 408}:
            return PlainTextResponse("The body did not come in time.\n", status_code=408, headers=_CLOSE)
        return JSONResponse(
            store_response(upload.outcomes), status_code=status, media_type=_ANSWER_TYPE, headers=headers
        )

    def _end(self, upload: Upload, source: UploadSource, status: int, **figures: object) -> None:
        upload.close(released=status not in {0, 408} and not upload.malformed)
        failed = sum(outcome.failure is not None for outcome in upload.outcomes)
        self._log.info(
            "stow_request",
            association_id=source.association_id,
            source_ae_title=source.source_ae_title,
            status=status,
            stored=len(upload.outcomes) - failed,
            failed=failed,
            **figures,
        )

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        """Give the body; no chunk is awaited for longer than a silence may last."""
        async with aclosing(request.stream()) as stream:
            while True:
                with anyio.fail_after(self._limits.silence_s):
                    chunk = await anext(stream, b"")
                if not chunk:
                    return
                yield chunk

    async def _in_thread(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        return await to_thread.run_sync(work, *arguments, limiter=self._threads)

    def _refuse(self, request: Request, refusal: _Refusal) -> Response:
        self._log.warning("stow_refused", status=refusal.status, reason=refusal.text, address=_address_of(request))
        return PlainTextResponse(f"{refusal.text}\n", status_code=refusal.status, headers=refusal.headers)


def _address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def _boundary_of(request: Request) -> bytes | _Refusal:
    """Return the boundary of a body that can be taken, or why it cannot."""
    media_type, options = parse_options_header(request.headers.get("content-type"))
    # PS3.18 section 8.6.1.2: the type of the parts is a parameter; what a sender leaves out is looked up at each part.
    parts = options.get(b"type", b"application/dicom").lower()
    if media_type != b"multipart/related" or parts != b"application/dicom":
        return _Refusal(415, 'The body must be multipart/related; type="application/dicom".')
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return _Refusal(415, "The body must not be compressed as a whole.")
    if not _accepts_answer(request.headers.getlist("accept")):
        return _Refusal(406, f"The answer is {_ANSWER_TYPE}.")
    if not is_uid(request.path_params.get("study", "1")):
        return _Refusal(400, "The path names no Study Instance UID.")
    boundary = options.get(b"boundary", b"")
    return boundary or _Refusal(400, "The Content-Type names no boundary.")


def _accepts_answer(accept: list[str]) -> bool:
    """Whether one of the media ranges covers ours (RFC 9110 section 12.5.1); a weight of 0 excludes."""
    ranges = [parse_options_header(part) for header in accept for part in header.split(",") if part.strip()]
    wanted = {media_range: options.get(b"q", b"1").strip(b"0.") != b"" for media_range, options in ranges}
    for media_range in (_ANSWER_TYPE.encode(), b"application/*", b"*/*"):
        if media_range in wanted:
            return wanted[media_range]
    return not wanted
