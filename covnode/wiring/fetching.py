"""Fetches series from a peer: asks by C-FIND what there is, and has it sent by C-MOVE or C-GET.

Comes from the command ``covnode fetch``. Whatever way it comes, each instance goes in by the node's own front door: by
C-MOVE the peer pushes it there; by C-GET this process passes each one on there by C-STORE, unchanged, and answers the
peer with the door's status. So there is one way in, with one durability, one gate and one record. This process writes
nothing into the spool but what it is passing on, and nothing into the database.
"""

import contextlib
import ipaddress
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal, cast

from pynetdicom import _config
from pynetdicom.association import Association

from covnode.deidentify.keys import Digests
from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import OUT_OF_RESOURCES
from covnode.errors import ConfigurationError, DeliveryRefused, TransientError
from covnode.receive import query, retrieve
from covnode.receive.contexts import sop_class_uids, transfer_syntaxes
from covnode.receive.query import FoundSeries
from covnode.receive.retrieve import OnProgress
from covnode.settings import Settings
from covnode.store.series import id_of
from covnode.wiring.node import Node

Way = Literal["move", "get"]
_ROW_FOLLOWS_WITHIN_S = 3.0
_LOOK_AGAIN_S = 0.1
_MOST_CONTEXTS = 127
_CT = "CT"


@dataclass(frozen=True)
class Fetched:
    """What came of one series; ``series_id`` is ours, None where nothing of it is recorded."""

    series_id: str | None
    expected: int | None
    received: int
    failed: int

    @property
    def is_whole(self) -> bool:
        """Whether every instance that the peer has came in, as far as it says."""
        return not self.failed and self.received >= (self.expected or 1)


@dataclass(frozen=True)
class Prior:
    """A CT study of a patient at the peer; ``series_ids`` are those that are here already."""

    series: tuple[FoundSeries, ...]
    series_ids: tuple[str, ...]


def peer_of(settings: Settings, name: str) -> Destination:
    """Return the peer of that name, or the only one of that AE title.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    found = {name: settings.peers[name]} if name in settings.peers else settings.peers_called(name)
    if len(found) != 1:
        raise ConfigurationError(
            f"several peers have the AE title {name}: give the name of one, 'covnode peer list' lists them."
            if found
            else f"there is no peer {name}: 'covnode peer list' lists all, 'covnode peer add' adds one."
        )
    ((key, peer),) = found.items()
    return Destination(key, peer.ae_title, peer.host, peer.port, settings.deliver.timeout_s)


class Fetching:
    """Fetches from one peer for one node."""

    def __init__(self, node: Node, digest: Digests, peer: Destination) -> None:
        self._node = node
        self._digest = digest
        self._peer = peer
        self._ae_title = node.settings.node.ae_title

    def ct_series(self, study_uid: str, series_uid: str = "") -> list[FoundSeries]:
        """Ask which CT series the study has at the peer, or for the one that is named, whatever its modality."""
        found = query.series_of_study(self._ae_title, self._peer, study_uid, series_uid)
        return [series for series in found if series_uid or series.modality == _CT]

    def priors(self, patient_id: str) -> list[Prior]:
        """Ask which CT studies the patient has at the peer, the newest first."""
        studies = query.ct_studies_of_patient(self._ae_title, self._peer, patient_id)
        found = [self.ct_series(study.study_instance_uid) for study in studies]
        return [Prior(tuple(series), tuple(filter(None, map(self._series_id, series)))) for series in found if series]

    def fetch(self, series: FoundSeries, by: Way, on_progress: OnProgress) -> Fetched:
        """Have the peer send a series.

        Raises
        ------
        TransientError, DeliveryRefused
            The peer, or for C-GET this node's own front door, is away or refuses.
        """
        if by == "move":
            done = retrieve.move(self._ae_title, self._peer, series, on_progress)
        else:
            done = self._get(series, on_progress)
        series_id = self._recorded_series_id(series) if done.completed else self._series_id(series)
        return Fetched(series_id, series.instances, done.completed, done.failed + done.remaining)

    def _get(self, series: FoundSeries, on_progress: OnProgress) -> retrieve.SubOperations:
        settings = self._node.settings.receive
        # Preferred first, and one context for each pair, so that the peer sends every instance as it has it.
        pairs = product(transfer_syntaxes(settings.transfer_syntaxes), sop_class_uids(settings.sop_classes))
        storage = [(sop_class, syntax) for syntax, sop_class in pairs][:_MOST_CONTEXTS]
        with _own_door(self._node, self._peer.ae_title, storage) as door:
            return retrieve.get(self._peer, self._ae_title, series, storage, door.keep, on_progress)

    def _recorded_series_id(self, series: FoundSeries) -> str | None:
        """Return our id of a series whose instances were just answered for: its row may follow that."""
        until_s = time.monotonic() + _ROW_FOLLOWS_WITHIN_S
        while (series_id := self._series_id(series)) is None and time.monotonic() < until_s:
            time.sleep(_LOOK_AGAIN_S)
        return series_id

    def _series_id(self, series: FoundSeries) -> str | None:
        digest = self._digest(series.study_instance_uid, series.series_instance_uid)
        with self._node.transaction() as session:
            return id_of(session, digest)


@dataclass
class _OwnDoor:
    """An association to this node's own front door."""

    association: Association

    def keep(self, path: Path) -> int:
        """Pass an instance on and return the door's status."""
        try:
            status = self.association.send_c_store(path).get("Status")
        except (RuntimeError, ValueError, AttributeError):
            # The door has ended the association, or did not take this kind of object.
            status = None
        return OUT_OF_RESOURCES if status is None else cast("int", status)


@contextlib.contextmanager
def _own_door(node: Node, calling_ae_title: str, storage: list[tuple[str, str]]) -> Iterator[_OwnDoor]:
    """Open the way in, in the name of the peer that the instances come from.

    Raises
    ------
    CovnodeError
        It is closed; the message names the setting.
    """
    settings = node.settings
    if not settings.receive.enabled:
        raise ConfigurationError(
            "receive.enabled is false, and C-GET needs the port without TLS: use --by move, or "
            "'covnode config set receive.enabled true'."
        )
    host = reachable(settings.receive.bind)
    name = "this node's own front door"
    door = Destination(name, settings.node.ae_title, host, settings.receive.port, settings.deliver.timeout_s)
    try:
        association = associate(calling_ae_title, door, storage)
    except DeliveryRefused as refusal:
        raise DeliveryRefused(
            f"{refusal} Look whether receive.allow_from lets {host} in and receive.calling_ae_titles lets "
            f"{calling_ae_title.strip()} in, or use --by move.",
            code=refusal.code,
        ) from None
    except TransientError as error:
        raise TransientError(
            f"{error}: does 'covnode serve' run? If it does, its log says why it takes nothing."
        ) from None
    chunked, folder = _config.STORE_SEND_CHUNKED_DATASET, tempfile.tempdir
    # The bytes go on as they came: nothing is decoded and encoded again.
    _config.STORE_SEND_CHUNKED_DATASET = True
    # What is being passed on lies beside what the doors are receiving, and is cleared away like that.
    tempfile.tempdir = str(node.home.incoming)
    try:
        yield _OwnDoor(association)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET, tempfile.tempdir = chunked, folder
        if association.is_established:
            association.release()


def reachable(bind: str) -> str:
    """Return an address of this host that reaches a port bound to ``bind``."""
    try:
        address = ipaddress.ip_address(bind)
    except ValueError:
        return bind
    if not address.is_unspecified:
        return bind
    return "127.0.0.1" if address.version == 4 else "::1"
