"""``covnode queues``: one for the analyses and one for each destination, which can be paused."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, node_of, show_rows, stdout
from covnode.errors import ConfigurationError, StaleClaim
from covnode.records.job import JobKind, queue_name
from covnode.settings import Settings
from covnode.store import queues
from covnode.wiring.node import Node

app = typer.Typer(no_args_is_help=True, help="The queues of analyses and deliveries; each can be paused.")
Name = Annotated[str, typer.Argument(help="A queue of 'covnode queues list': analysis, or delivery.PEER.")]


def queues_of(settings: Settings) -> list[str]:
    """Return the queues that the configuration asks for."""
    destinations = [name for name, peer in settings.peers.items() if peer.deliver]
    return [queue_name(JobKind.ANALYSIS), *(queue_name(JobKind.DELIVERY, name) for name in destinations)]


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the queues: what is queued, what is at work, whether it is paused and why.

    Example: `covnode queues list --json`
    """
    node = node_of(home)
    with node.transaction() as session:
        rows = queues.overview(session, queues_of(node.settings))
    show_rows(["queue", "state", "queued", "at_work", "paused_at", "reason"], rows, as_json=as_json)


@app.command()
def pause(
    name: Name,
    reason: Annotated[str | None, typer.Option(help="Why, for those who list the queues; no patient's name.")] = None,
    home: HomeOption = None,
) -> None:
    """Have nothing more of a queue begun; what is at work ends, the rest stays queued.

    Example: `covnode queues pause delivery.pacs --reason "the PACS is upgraded"`
    """
    node = node_of(home)
    _require_known(node, name)
    try:
        with node.transaction() as session:
            queues.pause(session, name, reason)
    except StaleClaim:
        raise ConfigurationError(f"the queue {name} is paused already: see 'covnode queues list'.") from None
    stdout.print(f"{name} is paused: 'covnode queues resume {name}' lets it go on.", highlight=False)


@app.command()
def resume(name: Name, home: HomeOption = None) -> None:
    """Let a paused queue go on, the most urgent first.

    Example: `covnode queues resume delivery.pacs`
    """
    node = node_of(home)
    _require_known(node, name)
    try:
        with node.transaction() as session:
            jobs = queues.resume(session, name)
            for job in jobs:
                node.queue.enqueue(session, job)
    except StaleClaim:
        raise ConfigurationError(f"the queue {name} is not paused: see 'covnode queues list'.") from None
    stdout.print(f"{name} goes on, with {len(jobs)} queued.", highlight=False)


def _require_known(node: Node, name: str) -> None:
    with node.transaction() as session:
        known = [row["queue"] for row in queues.overview(session, queues_of(node.settings))]
    if name not in known:
        raise ConfigurationError(f"there is no queue {name}, only {', '.join(known)}.")
