"""The receiver process: the SCP, the assembly of series, and the intake. Holds the keys; has no torch."""

import tempfile
import threading
from dataclasses import dataclass

from covnode.deidentify.keys import PseudonymKeys
from covnode.errors import RowExists, TransientError
from covnode.logs import get_logger
from covnode.receive.assembly import AssociationLedger
from covnode.receive.scp import Listener, StorageScp
from covnode.receive.spool import IncomingInstance, clear_incoming, make_durable
from covnode.settings import Home
from covnode.store import series
from covnode.wiring.assembling import Assembling
from covnode.wiring.choosing import Choosing
from covnode.wiring.intake import TakingIn, build_intake
from covnode.wiring.node import Node, open_process, stop_event

_TICK_S = 0.5
_ABANDONED_S = 3600.0


@dataclass(frozen=True)
class Spooler:
    """Makes a received instance durable: file, folder, row."""

    node: Node
    keys: PseudonymKeys

    def keep(self, instance: IncomingInstance, source_ae_title: str) -> str:
        """Return our series id once the instance is durable."""
        try:
            return self._keep(instance, source_ae_title)
        except RowExists:
            return self._keep(instance, source_ae_title)

    def _keep(self, instance: IncomingInstance, source_ae_title: str) -> str:
        digest = self.keys.digest(instance.study_instance_uid, instance.series_instance_uid)
        with self.node.transaction() as session:
            series_id = series.series_id_of(session, digest, source_ae_title)
        name = make_durable(instance, self.node.home.spool / series_id)
        spooled = series.SpooledInstance(
            sop_digest=self.keys.digest(instance.sop_instance_uid),
            content_sha256=instance.content_sha256,
            file_name=f"{series_id}/{name}",
            size_bytes=instance.size_bytes,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
        )
        with self.node.transaction() as session:
            series.add_instance(session, series_id, spooled)
        return series_id


@dataclass(frozen=True)
class Assembly:
    """What happens to series after their instances are recorded: complete -> chosen -> taken in."""

    node: Node
    assembling: Assembling
    choosing: Choosing
    taking_in: TakingIn

    def run(self, stopping: threading.Event) -> None:
        """Look twice a second until asked to stop."""
        while not stopping.wait(_TICK_S):
            try:
                self.assembling.run_once()
                self.choosing.run_once()
                self.taking_in.run_once()
                clear_incoming(self.node.home.incoming, untouched_s=_ABANDONED_S)
            except TransientError as error:
                get_logger().warning("assembly_postponed", reason=str(error))


def run_receiver(home: Home) -> None:
    """Run until asked to stop."""
    node = open_process(home, "receiver")
    keys = PseudonymKeys.load(home.keys)
    home.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear_incoming(home.incoming, untouched_s=0.0)
    # pynetdicom streams each data set into the process's temporary folder: the same file system as the
    # spool, so that the move into it is a rename.
    tempfile.tempdir = str(home.incoming)
    ledger = AssociationLedger()
    receive = node.settings.receive
    listener = Listener(
        node.settings.node.ae_title,
        receive.bind,
        receive.port,
        receive.max_associations,
        receive.network_timeout_s,
    )
    scp = StorageScp(listener, ledger, Spooler(node, keys).keep)
    stopping = stop_event()
    scp.start()
    get_logger().info("listening", ae_title=listener.ae_title, bind=listener.bind, port=scp.port)
    taking_in = TakingIn(node, build_intake(node, keys))
    Assembly(node, Assembling(node, ledger), Choosing(node), taking_in).run(stopping)
    scp.stop()
