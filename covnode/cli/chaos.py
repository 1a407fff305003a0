"""``covnode chaos``: a node of its own is killed, frozen and cut off at every transition, and nothing may be lost."""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covnode.cli.console import JsonOption, print_json, stderr, stdout
from covnode.cli.local_node import NODE_AE, LocalNode, free_port
from covnode.errors import ConfigurationError
from covnode.settings import ENVIRONMENT_PREFIX

if TYPE_CHECKING:
    from covnode.chaos.storm import CaseRun

_TERMINATED = 143


def chaos(
    *,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick/--full",
            help="Kill -9 at every transition and some of the rest, in about 4 minutes; or everything at every "
            "transition, in less than an hour.",
        ),
    ] = True,
    postgresql: Annotated[
        bool, typer.Option("--postgresql", help="On a PostgreSQL server of its own, from the programs installed here.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only at this transition; may be given again.", show_default=False)
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(help="Only kill, host_lost, freeze or database_cut; may be given again.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the certificate here, as JSON.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for the node and its log; else a temporary one, kept when it fails.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Certify on this machine that a crash loses nothing and repeats nothing; exit code 1 when it does.

    Runs a node of its own on its own ports with synthetic series: your node and its data are not touched.

    Example: `covnode chaos --quick --out certificate.json`
    """
    from covnode.chaos import plan as plans  # noqa: PLC0415 (no other command knows of the failpoints)
    from covnode.chaos.certify import certify  # noqa: PLC0415 (as above)
    from covnode.chaos.ground import Surroundings  # noqa: PLC0415 (as above)
    from covnode.chaos.switches import Action  # noqa: PLC0415 (as above)

    known = [str(each) for each in Action]
    unknown = [each for each in action or () if each not in known]
    if unknown:
        raise ConfigurationError(f"{unknown[0]} is no action. They are: {', '.join(known)}.")
    plan = plans.narrowed(plans.quick() if quick else plans.full(), only or (), [Action(each) for each in action or ()])
    folder = work or Path(tempfile.mkdtemp(prefix="covnode-chaos-"))
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty: name another folder by --work.")
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        del os.environ[name]  # what overrides the configuration of the site's node is not for this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that the node ends with it
    stderr.print(
        f"{len(plan.cases)} cases on {len(plan.nodes)} nodes; their logs: {folder}/*/home.log", highlight=False
    )
    certificate = certify(plan, Surroundings(folder, new_node, NODE_AE, _new_ports()), _tell, postgresql=postgresql)
    if out is not None:
        out.write_text(json.dumps(certificate.as_json(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(certificate.as_json())
    else:
        stdout.print(certificate.as_text(), highlight=False, markup=False, end="")
    if certificate.failures:
        raise typer.Exit(1)
    if work is None:
        shutil.rmtree(folder)


def new_node(root: Path, port: int, environment: Mapping[str, str], module: str) -> LocalNode:
    """Return a node of this machine whose processes are run from a module of the chaos."""
    root.parent.mkdir(parents=True, exist_ok=True)
    return LocalNode(root, port, environment, module)


def _new_ports() -> Callable[[], int]:
    """Return what names a free port, and none twice: a node listens on its own only later."""
    named: set[int] = set()

    def new_port() -> int:
        while (port := free_port()) in named:
            pass
        named.add(port)
        return port

    return new_port


def _tell(run: "CaseRun") -> None:
    reached = "" if run.has_fired else ": NOT REACHED"
    stderr.print(f"{run.case.name} ({run.took_s:.0f} s){reached}", highlight=False)
