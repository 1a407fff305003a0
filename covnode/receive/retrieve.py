"""C-MOVE and C-GET in the Study Root: have a peer send a series, and tell how far it is.

Comes from the command that fetches. By C-MOVE the instances come to the node's front door like any push; by C-GET they
come on this association, and each goes to the caller's ``keep`` before it is answered. It stores nothing itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pynetdicom import _config, evt
from pynetdicom.association import Association

from covnode.dicom.association import Destination, Handlers, associate
from covnode.dicom.dimse import OUT_OF_RESOURCES, SUCCESS
from covnode.errors import DeliveryRefused, TransientError
from covnode.receive.query import FoundSeries

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_MOST_CONTEXTS = 128
# An archive may fetch from a slower store first, without a word.
_SILENCE_S = 600.0
_PENDING = frozenset({0xFF00, 0xFF01})
# PS3.4 Tables C.4-2 and C.4-3.
_SOME_FAILED = 0xB000
_UNKNOWN_MOVE_DESTINATION = 0xA801
_NO_MOVE = "does not know C-MOVE: use --by get"
_NO_GET = "does not know C-GET: use --by move"

Keep = Callable[[Path], int]
"""(Part 10 file with one instance) -> the status to answer; the file is removed afterwards."""


@dataclass(frozen=True)
class SubOperations:
    """How far a retrieval is; ``completed`` includes those with a warning."""

    remaining: int
    completed: int
    failed: int

    @classmethod
    def of(cls, status: Dataset, before: "SubOperations | None" = None) -> "SubOperations":
        """Read the figures of an answer; what it leaves out is as it was before."""

        def figure(kind: str, otherwise: int) -> int:
            value = status.get(f"NumberOf{kind}Suboperations")
            return otherwise if value is None else int(value)

        last = before or cls(0, 0, 0)
        if not any(status.get(f"NumberOf{kind}Suboperations") is not None for kind in ("Completed", "Failed")):
            return last
        return cls(figure("Remaining", 0), figure("Completed", 0) + figure("Warning", 0), figure("Failed", last.failed))


OnProgress = Callable[[SubOperations], None]


def move(
    calling_ae_title: str, destination: Destination, series: FoundSeries, on_progress: OnProgress
) -> SubOperations:
    """Have the peer send a series to the AE ``calling_ae_title``, this node's own.

    Raises
    ------
    TransientError
        The peer is away or stopped answering.
    DeliveryRefused
        It refuses; the message says what helps.
    """
    association = _associate(calling_ae_title, destination, [(STUDY_ROOT_MOVE, None)], _NO_MOVE)
    try:
        answers = association.send_c_move(_identifier(series), calling_ae_title, STUDY_ROOT_MOVE)
        return _follow(answers, destination.name, on_progress, partial(_why_not_moved, calling_ae_title))
    except RuntimeError:
        raise TransientError(f"{destination.name} ended the association") from None
    finally:
        _end(association)


def get(
    destination: Destination,
    calling_ae_title: str,
    series: FoundSeries,
    storage: Sequence[tuple[str, str]],
    keep: Keep,
    on_progress: OnProgress,
) -> SubOperations:
    """Fetch a series on this association.

    Each data set is streamed into a file of the process's temporary folder, which the caller has set.

    Parameters
    ----------
    storage
        (SOP class, transfer syntax) that may come, the preferred first.

    Raises
    ------
    TransientError
        The peer is away or stopped answering.
    DeliveryRefused
        It refuses.
    """
    contexts: list[tuple[str, str | None]] = [(STUDY_ROOT_GET, None), *storage]
    as_scp = list(dict.fromkeys(sop_class for sop_class, _syntax in storage))
    handlers: Handlers = [(evt.EVT_C_STORE, lambda event: _on_store(event, keep))]
    chunked = _config.STORE_RECV_CHUNKED_DATASET
    _config.STORE_RECV_CHUNKED_DATASET = True
    association = _associate(
        calling_ae_title, destination, contexts[:_MOST_CONTEXTS], _NO_GET, as_scp=as_scp, handlers=handlers
    )
    try:
        answers = association.send_c_get(_identifier(series), STUDY_ROOT_GET)
        return _follow(answers, destination.name, on_progress, lambda _code: "it refuses to send")
    except ValueError:
        raise DeliveryRefused(f"{destination.name} {_NO_GET}", code="sop_class_not_accepted") from None
    except RuntimeError:
        raise TransientError(f"{destination.name} ended the association") from None
    finally:
        _config.STORE_RECV_CHUNKED_DATASET = chunked
        _end(association)


def _associate(
    calling_ae_title: str,
    destination: Destination,
    contexts: Sequence[tuple[str, str | None]],
    otherwise: str,
    *,
    as_scp: Sequence[str] = (),
    handlers: Handlers = (),
) -> Association:
    """Open an association that waits long for its answers; ``otherwise`` is said of a peer without the service."""
    try:
        association = associate(calling_ae_title, destination, contexts, as_scp=as_scp, handlers=handlers)
    except DeliveryRefused as refusal:
        if refusal.code != "sop_class_not_accepted":
            raise
        raise DeliveryRefused(f"{destination.name} {otherwise}", code=refusal.code) from None
    association.dimse_timeout = _SILENCE_S
    return association


def _on_store(event: evt.Event, keep: Keep) -> int:
    path = Path(event.dataset_path)
    try:
        return keep(path)
    except Exception:  # noqa: BLE001 (the edge: an error here must become a status, never Success)
        return OUT_OF_RESOURCES
    finally:
        path.unlink(missing_ok=True)


def _identifier(series: FoundSeries) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "SERIES"
    keys.StudyInstanceUID = series.study_instance_uid
    keys.SeriesInstanceUID = series.series_instance_uid
    return keys


def _follow(
    answers: Iterator[tuple[Dataset, Dataset | None]],
    peer: str,
    on_progress: OnProgress,
    why_not: Callable[[int], str],
) -> SubOperations:
    so_far = SubOperations(0, 0, 0)
    for status, _failed in answers:
        code = status.get("Status")
        if code is None:
            raise TransientError(f"{peer} stopped answering, after {so_far.completed} instances")
        so_far = SubOperations.of(status, so_far)
        on_progress(so_far)
        if code not in _PENDING and code not in {SUCCESS, _SOME_FAILED} and not so_far.completed:
            raise DeliveryRefused(f"{peer}: {why_not(code)} ({code:04X})", code=f"{code:04X}")
    return so_far


def _why_not_moved(our_ae_title: str, code: int) -> str:
    if code == _UNKNOWN_MOVE_DESTINATION:
        return (
            f"it does not know {our_ae_title} as a move destination: add this node there, with its host and port, "
            "or use --by get"
        )
    return (
        f"it cannot send to {our_ae_title}: look there which host and port it has for this node, and in this node's "
        "log whether it takes anything; or use --by get"
    )


def _end(association: Association) -> None:
    if association.is_established:
        association.release()
