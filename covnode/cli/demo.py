"""``covnode demo``: the whole path on this machine, from a pushed CT to the SEG and SR in a stand-in PACS."""

import json
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer
from pydicom import dcmread
from rich.table import Table

from covnode.cli.console import stderr, stdout
from covnode.cli.local_node import LOOPBACK, PACS_AE, LocalNode, StandInPacs, run_covnode
from covnode.cli.overlay import write_overlay
from covnode.cli.stand_in_pacs import run_stand_in_pacs
from covnode.errors import ConfigurationError, CovnodeError
from covnode.home import Home
from covnode.records.result import DEMONSTRATION
from covnode.store.results import load_result
from covnode.store.views import list_jobs
from covnode.wiring.node import open_node

_ANSWER_S = 600.0


def stand_in_pacs(
    out: Annotated[Path, typer.Argument(help="Where received objects are kept.")],
    port: Annotated[int, typer.Option(help="Port that it listens on.")] = 11113,
    bind: Annotated[str, typer.Option(help="Address that it listens on.")] = LOOPBACK,
    ae_title: Annotated[str, typer.Option(help="Its AE title.")] = PACS_AE,
) -> None:
    """Run a PACS of the simplest kind, for demos and tests.

    Example: `covnode stand-in-pacs ./pacs --port 11113`
    """
    run_stand_in_pacs(ae_title, (bind, port), out)


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for everything the demo makes; what an earlier demo left goes.")
    ] = Path("demo-out"),
    slices: Annotated[int, typer.Option(min=30, help="Slices of the synthetic chest CT.")] = 120,
) -> None:
    """Push a synthetic chest CT to a node and wait for SEG and SR at a stand-in PACS; exit code 1 when a part fails.

    Example: `covnode demo --out demo-out`
    """
    _make_empty(out)
    ct = out / "ct"
    node, pacs = LocalNode(out / "home"), StandInPacs(out / "pacs")
    stderr.print("1. a synthetic chest CT")
    run_covnode("phantom", str(ct), "--preset", "covid-mild", "--slices", str(slices), "--seed", "7")
    stderr.print("2. a node, and a stand-in PACS that accepts demonstration figures")
    node.init("--pacs", pacs.address, "--accept-demonstration")
    try:
        pacs.start()
        node.start()
        stderr.print("3. the CT is pushed by C-STORE, SEG and SR are awaited")
        node.push(ct)
        pushed_s = time.monotonic()
        received = pacs.wait(2, _ANSWER_S)
        answered_s = time.monotonic() - pushed_s
    finally:
        node.stop()
        pacs.stop()
    found = {str(dcmread(path, stop_before_pixels=True).Modality): path for path in received}
    if set(found) != {"SEG", "SR"}:
        raise CovnodeError(f"the stand-in PACS received {sorted(found)}, expected one SEG and one SR")
    write_overlay(sorted(ct.glob("*.dcm")), found["SEG"], out / "overlay.png")
    _show_result(node.home, ct, answered_s)
    stdout.print(f"Objects: {out / 'pacs'}   picture: {out / 'overlay.png'}", highlight=False)


def _make_empty(out: Path) -> None:
    if out.exists() and not (out / "home").exists() and any(out.iterdir()):
        raise ConfigurationError(f"{out} holds something that no demo made: name another folder by --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def _show_result(home: Home, ct: Path, answered_s: float) -> None:
    with open_node(home).transaction() as session:
        analysis_id = next(job["job_id"] for job in list_jobs(session) if job["kind"] == "analysis")
    result = load_result(home.results / analysis_id).result
    truth = json.loads((ct / "truth.json").read_text(encoding="utf-8"))
    table = Table("figure", "covnode", "truth of the phantom", title=f"Result ({DEMONSTRATION})")
    for name in ("lung_volume_ml", "affected_percent"):
        for side, value in getattr(result, name).model_dump().items():
            table.add_row(f"{name.replace('_', ' ')}, {side}", f"{value:.1f}", f"{truth[name][side]:.1f}")
    table.add_row("COVID-19 probability", f"{result.covid_probability:.2f}", "COVID-like lesions")
    table.add_row("severity score", f"{result.severity_score:.1f} ({result.severity_category}), CTSI {result.ctsi}", "")
    table.add_row("last C-STORE to SEG and SR", f"{answered_s:.1f} s", "")
    stdout.print(table)
