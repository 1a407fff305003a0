"""A PACS in the test's own process: keeps the bytes of all that it is sent, and does what a test wants at each."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import CTImageStorage
from pynetdicom import AE, StoragePresentationContexts, evt

from covnode.cli.local_node import LOOPBACK, PACS_AE, free_port
from covnode.dicom.dimse import SUCCESS, VERIFICATION


def _answer_success(_number: int) -> int:
    return SUCCESS


@dataclass
class ScriptedPacs:
    """Listens between ``start`` and ``stop``; ``answer`` makes a status of the number of the C-STORE, from 1.

    Only the AE title ``allowed`` may call, where there is one.
    """

    answer: Callable[[int], int] = _answer_success
    port: int = field(default_factory=free_port)
    allowed: str | None = None
    arrived: list[tuple[str, bytes]] = field(default_factory=list)
    _server: Any = None

    @property
    def address(self) -> str:
        return f"{PACS_AE}@{LOOPBACK}:{self.port}"

    @property
    def times_arrived(self) -> Counter[str]:
        """How often each SOP Instance UID came."""
        return Counter(uid for uid, _content in self.arrived)

    @property
    def contents(self) -> dict[str, set[bytes]]:
        """The different bytes that came under each SOP Instance UID."""
        return {uid: {content for each, content in self.arrived if each == uid} for uid in self.times_arrived}

    def start(self) -> None:
        entity = AE(ae_title=PACS_AE)
        for context in StoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax or CTImageStorage)
        entity.add_supported_context(VERIFICATION)
        if self.allowed is not None:
            entity.require_calling_aet = [self.allowed]
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _store(self, event: evt.Event) -> int:
        self.arrived.append((str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue()))
        return self.answer(len(self.arrived))
