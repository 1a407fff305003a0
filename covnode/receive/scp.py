"""The C-ECHO and C-STORE SCP: answers Success only when the instance is durable.

Comes from the modality; goes to the spool. pynetdicom does the protocol; nothing here decodes a pixel.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydicom.uid import AllTransferSyntaxes, ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import ThreadedAssociationServer

from covnode.dicom.dimse import CT_SOP_CLASSES, OUT_OF_RESOURCES, SUCCESS, VERIFICATION
from covnode.errors import InstanceRefused, TransientError
from covnode.logs import get_logger
from covnode.receive.assembly import ABORTED, RELEASED, AssociationLedger
from covnode.receive.spool import IncomingInstance, read_incoming

# pynetdicom takes the first of its own list that the peer proposes in the context.
TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    *(syntax for syntax in AllTransferSyntaxes if syntax != ExplicitVRLittleEndian),
]

Keep = Callable[[IncomingInstance, str], str]
"""(instance, calling AE title) -> our series id, once file and row are durable."""


@dataclass(frozen=True)
class Listener:
    """Where the SCP listens, and its limits."""

    ae_title: str
    bind: str
    port: int
    max_associations: int
    network_timeout_s: float


class StorageScp:
    """A C-STORE SCP for CT that hands each durable instance to ``keep``."""

    def __init__(self, listener: Listener, ledger: AssociationLedger, keep: Keep) -> None:
        self._listener = listener
        self._ledger = ledger
        self._keep = keep
        self._log = get_logger()
        self._server: ThreadedAssociationServer | None = None

    @property
    def port(self) -> int:
        """The port in use (the one that the system chose where the listener asked for 0)."""
        if self._server is None:
            return self._listener.port
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            The port is taken or may not be used.
        """
        # The data set goes straight to a file of the process's temporary folder, which the receiver's wiring
        # has set to the spool's own ``incoming``.
        _config.STORE_RECV_CHUNKED_DATASET = True
        entity = AE(ae_title=self._listener.ae_title)
        entity.maximum_associations = self._listener.max_associations
        entity.network_timeout = self._listener.network_timeout_s
        entity.maximum_pdu_size = 0
        for sop_class in CT_SOP_CLASSES:
            entity.add_supported_context(sop_class, TRANSFER_SYNTAXES)
        entity.add_supported_context(VERIFICATION)
        self._server = entity.start_server(
            (self._listener.bind, self._listener.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_RELEASED, self._on_end, [RELEASED]),
                (evt.EVT_ABORTED, self._on_end, [ABORTED]),
                (evt.EVT_CONN_CLOSE, self._on_end, [ABORTED]),
            ],
        )

    def stop(self) -> None:
        """Listen no more and abort what is open."""
        if self._server is not None:
            self._server.shutdown()

    def _on_end(self, event: evt.Event, how: str) -> None:
        self._ledger.ended(id(event.assoc), how)

    def _on_store(self, event: evt.Event) -> int:
        path = Path(event.dataset_path)
        try:
            request = cast("C_STORE", event.request)
            instance = read_incoming(path, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
            series_id = self._keep(instance, event.assoc.requestor.ae_title.strip())
        except InstanceRefused as refusal:
            self._log.warning("instance_refused", status=f"{refusal.status:04X}", reason=str(refusal))
            return refusal.status
        except (OSError, TransientError) as error:
            self._log.error("instance_not_stored", status=f"{OUT_OF_RESOURCES:04X}", error=type(error).__name__)
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 (the edge: an error here must become a status, never Success)
            self._log.error("instance_failed", status=f"{OUT_OF_RESOURCES:04X}", error=type(error).__name__)
            return OUT_OF_RESOURCES
        else:
            self._ledger.feeds(id(event.assoc), series_id)
            return SUCCESS
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
