"""A node under chaos with one of its safeguards broken: what the chaos starts as its processes, in the tests alone.

``BROKEN_SAFEGUARD`` names which: the reaper, the fencing, the transaction or the commitment.
"""

import os

import sqlalchemy as sa

from covnode.chaos import entry
from covnode.queue import leases
from covnode.store import analyses, sessions
from covnode.store.tables import AnalysisRow
from covnode.wiring import commitments, node


def break_reaper():
    """Nobody gives the jobs of a dead host back."""
    leases.Leases._reap = lambda _: None


def break_fencing():
    """Whoever once had the claim may write."""
    analyses._held = lambda analysis_id, _fence: sa.update(AnalysisRow).where(AnalysisRow.analysis_id == analysis_id)


def break_transaction():
    """Every statement is committed by itself."""

    def transactions(engine):
        return sessions.transactions(engine.execution_options(isolation_level="AUTOCOMMIT"))

    node.transactions = transactions


def break_commitment():
    """What was asked for before a restart is not taken up again."""

    def run(self, stopping):
        while not stopping.wait(0.1):
            self._start_due()

    commitments.Commitments.run = run


BREAKS = {
    "reaper": break_reaper,
    "fencing": break_fencing,
    "transaction": break_transaction,
    "commitment": break_commitment,
}

if __name__ == "__main__":
    BREAKS[os.environ["BROKEN_SAFEGUARD"]]()
    entry.main("broken_node")
