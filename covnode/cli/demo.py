"""``covnode demo``: the whole path on this machine, from a pushed CT to the SEG and SR in a stand-in PACS."""

import contextlib
import json
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydicom import dcmread
from rich.table import Table

from covnode.cli.console import stderr, stdout
from covnode.cli.overlay import write_overlay
from covnode.cli.stand_in_pacs import run_stand_in_pacs
from covnode.errors import CovnodeError
from covnode.records.result import DEMONSTRATION
from covnode.settings import Home
from covnode.store.results import load_result
from covnode.store.views import list_jobs
from covnode.wiring.node import open_node

_START_S = 60.0
_ANSWER_S = 600.0
_PACS_AE = "STANDIN_PACS"
_NODE_AE = "COVNODE"


def stand_in_pacs(
    out: Annotated[Path, typer.Argument(help="Where received objects are kept.")],
    port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 11113,
    ae_title: Annotated[str, typer.Option(help="Its AE title.")] = _PACS_AE,
) -> None:
    """Run a PACS of the simplest kind on the loopback address, for demos and tests.

    Example: `covnode stand-in-pacs ./pacs --port 11113`
    """
    run_stand_in_pacs(ae_title, port, out)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes; emptied first.")] = Path("demo-out"),
    slices: Annotated[int, typer.Option(min=30, help="Slices of the synthetic chest CT.")] = 120,
) -> None:
    """Push a synthetic chest CT to a node and wait for SEG and SR at a stand-in PACS; exit code 1 when a part fails.

    Example: `covnode demo --out demo-out`
    """
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    home, ct, pacs = Home(out / "home"), out / "ct", out / "pacs"
    node_port, pacs_port = _free_port(), _free_port()
    address = f"{_PACS_AE}@127.0.0.1:{pacs_port}"
    _run("phantom", str(ct), "--preset", "covid-severe", "--slices", str(slices), "--seed", "7")
    _run(
        *("init", "--home", str(home.root), "--bind", "127.0.0.1", "--port", str(node_port)),
        *("--ae-title", _NODE_AE, "--pacs", address, "--accept-demonstration"),
    )
    with (
        _process("stand-in-pacs", str(pacs), "--port", str(pacs_port), log=out / "pacs.log") as pacs_process,
        _process("serve", "--home", str(home.root), log=out / "node.log"),
    ):
        arrivals = _lines(pacs_process)
        if _next(arrivals, _START_S) != "ready":
            raise CovnodeError(f"the stand-in PACS did not start: see {out / 'pacs.log'}")
        _wait_for_port(node_port)
        _run("push", str(ct), "--to", f"{_NODE_AE}@127.0.0.1:{node_port}")
        pushed_s = time.monotonic()
        stderr.print("Waiting for SEG and SR at the stand-in PACS ...")
        received = [Path(_next(arrivals, _ANSWER_S)) for _ in range(2)]
        answered_s = time.monotonic() - pushed_s
    found = {str(dcmread(path, stop_before_pixels=True).Modality): path for path in received}
    if set(found) != {"SEG", "SR"}:
        raise CovnodeError(f"the stand-in PACS received {sorted(found)}, expected one SEG and one SR")
    write_overlay(sorted(ct.glob("*.dcm")), found["SEG"], out / "overlay.png")
    _show_result(home, ct, out, answered_s)


def _show_result(home: Home, ct: Path, out: Path, answered_s: float) -> None:
    node = open_node(home)
    with node.transaction() as session:
        analysis_id = next(job["job_id"] for job in list_jobs(session) if job["kind"] == "analysis")
    result = load_result(home.results / analysis_id).result
    truth = json.loads((ct / "truth.json").read_text(encoding="utf-8"))
    table = Table("figure", "covnode", "truth of the phantom", title=f"Result ({DEMONSTRATION})")
    for name in ("lung_volume_ml", "affected_percent"):
        for side, value in getattr(result, name).model_dump().items():
            table.add_row(f"{name.replace('_', ' ')}, {side}", f"{value:.1f}", f"{truth[name][side]:.1f}")
    table.add_row("COVID-19 probability", f"{result.covid_probability:.2f}", "a phantom with COVID-like lesions")
    table.add_row("severity score", f"{result.severity_score:.1f} ({result.severity_category}), CTSI {result.ctsi}", "")
    table.add_row("from the last C-STORE to SEG and SR", f"{answered_s:.1f} s", "")
    stdout.print(table)
    stdout.print(f"Objects: {out / 'pacs'}   picture: {out / 'overlay.png'}", highlight=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "covnode", *arguments]


def _run(*arguments: str) -> None:
    stderr.print(f"covnode {' '.join(arguments)}", highlight=False)
    done = subprocess.run(_command(*arguments), check=False)  # noqa: S603 (our own interpreter and module)
    if done.returncode != 0:
        raise CovnodeError(f"covnode {arguments[0]} ended with exit code {done.returncode}")


@contextlib.contextmanager
def _process(*arguments: str, log: Path) -> Iterator["subprocess.Popen[str]"]:
    stderr.print(f"covnode {' '.join(arguments)}", highlight=False)
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            _command(*arguments), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _lines(process: "subprocess.Popen[str]") -> "queue.Queue[str]":
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line.strip())

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next(lines: "queue.Queue[str]", timeout_s: float) -> str:
    try:
        return lines.get(timeout=timeout_s)
    except queue.Empty:
        raise CovnodeError(f"nothing came within {timeout_s:g} s: see node.log") from None


def _wait_for_port(port: int) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        time.sleep(0.2)
    raise CovnodeError("the node does not listen: see node.log")
