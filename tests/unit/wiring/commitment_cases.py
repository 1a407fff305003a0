"""A node on SQLite with instances in its spool, and requests for them."""

import time
from datetime import UTC, datetime

from covnode.deidentify.keys import Digests
from covnode.home import Home
from covnode.receive.commitment import CommitmentRequest, keep_request
from covnode.receive.commitment_report import Reference
from covnode.receive.drafts import Drafts
from covnode.settings import CommitmentSettings, DatabaseSettings, PeerSettings, Settings
from covnode.store.tables import InstanceRow, SeriesRow
from covnode.wiring.node import Node

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
DIGEST = Digests(b"k" * 32)


def node_with(folder, database_url, *, peers=("SCANNER",), **commitment):
    """Return a node whose peers have these AE titles; nothing listens there."""
    settings = Settings(
        database=DatabaseSettings(url=database_url),
        commitment=CommitmentSettings(**commitment),
        peers={f"peer{n}": PeerSettings(ae_title=name, host="127.0.0.1", port=104) for n, name in enumerate(peers)},
    )
    home = Home(folder / "home")
    home.commitments.mkdir(parents=True)
    return Node(home, settings)


def put_instance(node, uid, *, sop_class=CT, series_id=None, ignored=False):
    """Spool and record one instance; return its file."""
    now = datetime.now(UTC)
    series_id = series_id or f"ser-{uid}"
    path = node.home.spool / series_id / "a.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"0123456789")
    with node.transaction() as session:
        session.add(
            SeriesRow(
                series_id=series_id,
                series_digest=series_id,
                state="receiving",
                revision=1,
                received_at=now,
                last_instance_at=now,
                state_at=now,
                source_ae_title="SCANNER",
            )
        )
        session.flush()
        session.add(
            InstanceRow(
                series_id=series_id,
                sop_digest=DIGEST(uid),
                content_digest="a",
                file_name=f"{series_id}/{path.name}",
                size_bytes=10,
                sop_class_uid=sop_class,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                received_at=now,
                ignored=ignored,
            )
        )
    return path


def request_for(*uids, ae_title="SCANNER", transaction="1.2.99", asked_s_ago=0.0, sop_class=CT):
    """Return a request for those instances."""
    references = tuple(Reference(sop_class, uid) for uid in uids)
    return CommitmentRequest(ae_title, "assoc-1", time.time() - asked_s_ago, transaction, references)


def ask(node, *uids, **options):
    """Put a request where a door puts it; return its name."""
    node.home.incoming.mkdir(parents=True, exist_ok=True)
    return keep_request(request_for(*uids, **options), node.home.commitments, Drafts(node.home.incoming))
