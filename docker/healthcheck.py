"""Whether the container's node works: the receiver listens, its worker and sender have a heartbeat; else exit code 1.

A PACS that is away does not make the node unhealthy: starting it again would not bring the PACS back.
"""

import socket
import sys

from covnode.errors import CovnodeError
from covnode.home import Home, default_home
from covnode.queue.leases import SILENT_S
from covnode.store import executors
from covnode.wiring.node import open_node


def main() -> None:
    """Check once."""
    node = open_node(Home(default_home()))
    settings = node.settings
    for section in (settings.receive, settings.tls, settings.stow):
        if section.enabled:
            socket.create_connection(("127.0.0.1", section.port), timeout=5.0).close()
    with node.transaction() as session:
        alive = {row.executor_id for row in executors.living(session, SILENT_S)}
    if silent := [role for role in ("worker", "sender") if node.executor_id(role) not in alive]:
        sys.exit(f"no heartbeat: {', '.join(silent)}")


if __name__ == "__main__":
    try:
        main()
    except (CovnodeError, OSError) as error:
        sys.exit(str(error))
