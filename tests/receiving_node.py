"""A node that does nothing but receive: its series never count as complete. And what it has kept and recorded."""

import time
from collections import Counter

import sqlalchemy as sa
from dicom_instances import kept_digests
from dicom_sender import Association, Peer
from processes import NodeUnderTest

from covnode.cli.local_node import NODE_AE
from covnode.store.tables import InstanceRow

_NEVER_S = "86400"
_START_S = 60.0


class ReceivingNode(NodeUnderTest):
    """A node whose receiver alone is of interest."""

    def init(self, *options: str) -> None:
        super().init(*options)
        names = ("idle_s", "gap_idle_s", "open_idle_s", "aborted_idle_s", "watchdog_s")
        self.configure(**{f"completeness.{name}": _NEVER_S for name in names})

    def start_receiver(self) -> None:
        """Start `covnode receive` alone, and return when it answers."""
        self.start("receive")
        deadline_s = time.monotonic() + _START_S
        while not self.answers():
            assert self.process.poll() is None, f"the receiver ended: see {self.log}"
            assert time.monotonic() < deadline_s, f"the receiver does not answer: see {self.log}"
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether it takes an association and answers C-ECHO."""
        try:
            association = self.associate()
            status = association.echo()
            association.release()
        except Exception:  # noqa: BLE001 (whatever it is, it is no answer)
            return False
        return status == 0

    def associate(self) -> Association:
        return Association(Peer(self.port, NODE_AE))

    def kept(self) -> Counter[str]:
        """Return the digests of the data sets in the spool."""
        return kept_digests(self.home.spool)

    def recorded(self) -> Counter[str]:
        """Return the digests of the data sets in the database."""
        with self.transaction() as session:
            return Counter(session.scalars(sa.select(InstanceRow.content_digest)))
