"""The processes of a node with failpoints in them: ``python -m covnode.chaos.entry ROLE --home HOME``.

Started by the chaos in the place of ``covnode serve``; its supervisor starts the roles the same way.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from covnode.chaos.failpoints import install, run_on_host, switches_of_the_environment, wrap
from covnode.chaos.points import Role
from covnode.chaos.switches import STANDBY
from covnode.home import Home

_LONGEST_PAUSE_S = 0.25


def _receive(home: Home, _slot: int) -> None:
    from covnode.wiring import doors  # noqa: PLC0415 (a role loads only what it needs)
    from covnode.wiring.receiver import run_receiver  # noqa: PLC0415 (as above)

    doors.DOOR_MODULE = "covnode.chaos.door"
    run_receiver(home)


def _work(home: Home, slot: int) -> None:
    from covnode.chaos.child import infer_in_child  # noqa: PLC0415 (as above)
    from covnode.wiring.worker import run_worker  # noqa: PLC0415 (as above)

    wrap("covnode.wiring.worker:_infer_in_child", lambda _: infer_in_child)
    run_worker(home, slot)


def _send(home: Home, _slot: int) -> None:
    from covnode.wiring.sender import run_sender  # noqa: PLC0415 (as above)

    run_sender(home)


_ROLES: dict[str, Callable[[Home, int], None]] = {"receive": _receive, "work": _work, "send": _send}


def main(module: str = "covnode.chaos.entry") -> None:
    """Run the supervisor or one role.

    Parameters
    ----------
    module
        What the supervisor starts as a role.
    """
    name, _, folder, *slot = sys.argv[1:]
    home, switches = Home(Path(folder)), switches_of_the_environment()
    if name == "serve":
        from covnode.wiring import supervisor  # noqa: PLC0415 (as above)

        supervisor.serve(home, module=module, longest_pause_s=_LONGEST_PAUSE_S)
        return
    role = Role(name)
    run_on_host(switches.host(role))
    if STANDBY in os.environ:
        wrap("covnode.wiring.node:hold_lock", lambda _: lambda *_: None)  # another host has a home of its own
    install(role, switches)
    _ROLES[name](home, int(slot[1]) if slot else 0)


if __name__ == "__main__":
    main()
