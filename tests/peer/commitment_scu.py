"""An SCU of storage commitment: asks, and takes reports on the same association or as a peer that listens."""

from contextlib import contextmanager

from front_door import associate
from processes import wait_until
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

INSTANCE = "1.2.840.10008.1.20.1.1"


def request(transaction, instances):
    """Return the action information: (SOP class, SOP instance) each."""
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for sop_class, uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = uid
        information.ReferencedSOPSequence.append(item)
    return information


class CommitmentScu:
    """Calls as ``ae_title``; what it is told lies in ``reports`` by transaction."""

    def __init__(self, ae_title="SCU"):
        self.ae_title = ae_title
        self.reports = {}
        self.server = None

    @contextmanager
    def association(self, port):
        contexts = [
            (StorageCommitmentPushModel, ExplicitVRLittleEndian),
            (CTImageStorage, ExplicitVRLittleEndian),
        ]
        association = associate(
            port, *contexts, calling=self.ae_title, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report, ["same"])]
        )
        assert association.is_established
        try:
            yield association
        finally:
            association.release()

    def ask(self, association, transaction, instances, action_type=1):
        """Ask for commitment; return the status."""
        status, _reply = association.send_n_action(
            request(transaction, instances), action_type, StorageCommitmentPushModel, INSTANCE
        )
        return status.get("Status")

    def listen(self, port):
        """Take reports as a peer does; the node must be the SCP on its association."""
        entity = AE(ae_title=self.ae_title)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self.server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report, ["new"])]
        )

    def report(self, transaction, timeout_s=30):
        """Wait for the one report of a transaction: way, event type, stored and failed."""
        wait_until(lambda: transaction in self.reports, timeout_s)
        (report,) = self.reports[transaction]
        return report

    def stop(self):
        if self.server is not None:
            self.server.shutdown()

    def _on_report(self, event, way):
        information = event.event_information
        stored = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.get("ReferencedSOPSequence", [])
        ]
        failed = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID), int(item.FailureReason))
            for item in information.get("FailedSOPSequence", [])
        ]
        context = next(cx for cx in event.assoc.accepted_contexts if cx.abstract_syntax == StorageCommitmentPushModel)
        if way == "new":
            # Seen from here: the node is the SCP of what it opened, and this side its SCU.
            assert (context.as_scu, context.as_scp) == (True, False)
        self.reports.setdefault(str(information.TransactionUID), []).append((way, event.event_type, stored, failed))
        return 0x0000, None
