"""``covnode serve`` and its roles, one process each.

The supervisor starts them by this file: a role that ends is back a second sooner without all the other commands.
"""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, home_of, run
from covnode.wiring import supervisor


def serve(home: HomeOption = None) -> None:
    """Run the whole node: receiver, a worker for each device and sender, each started again when it ends.

    Example: `covnode serve --home /srv/covnode`
    """
    supervisor.serve(home_of(home))


def receive(home: HomeOption = None) -> None:
    """Run the receiver alone: C-STORE SCP, completeness, de-identification.

    Example: `covnode receive --home /srv/covnode`
    """
    from covnode.wiring.receiver import run_receiver  # noqa: PLC0415 (a role loads only what it needs)

    run_receiver(home_of(home))


def work(
    home: HomeOption = None,
    slot: Annotated[int, typer.Option(min=0, help="Which device: its place in worker.devices, or of CUDA.")] = 0,
) -> None:
    """Run one worker alone: analyses, on the CPU or one CUDA device.

    Example: `covnode work --home /srv/covnode --slot 1`
    """
    from covnode.wiring.worker import run_worker  # noqa: PLC0415 (a role loads only what it needs)

    run_worker(home_of(home), slot)


def send(home: HomeOption = None) -> None:
    """Run the sender alone: identity restored, interlock, C-STORE to the PACS.

    Example: `covnode send --home /srv/covnode`
    """
    from covnode.wiring.sender import run_sender  # noqa: PLC0415 (a role loads only what it needs)

    run_sender(home_of(home))


if __name__ == "__main__":
    roles = typer.Typer()
    for role in (receive, work, send):
        roles.command()(role)
    run(roles)
