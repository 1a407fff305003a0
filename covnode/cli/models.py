"""``covnode models``: what the node analyses with."""

from typing import Annotated

import typer
from rich.progress import Progress

from covnode.cli.console import HomeOption, JsonOption, home_of, show_found, show_rows, stderr, stdout
from covnode.errors import ConfigurationError, CovnodeError
from covnode.infer.bundles import verify_bundle
from covnode.wiring.model_store import install_r231, known_models, model_folders

app = typer.Typer(no_args_is_help=True, help="What the node analyses with.")


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the models, shipped and installed.

    Example: `covnode models list --json`
    """
    rows = [
        {
            "name": known.bundle.manifest.name,
            "version": known.bundle.manifest.version,
            "task": known.bundle.manifest.task,
            "use": "demonstration, not for clinical use" if known.bundle.manifest.demonstration else "as its card says",
            "sha256": known.bundle.manifest.sha256 if as_json else known.bundle.manifest.sha256[:12],
            "from": "installed" if known.installed else "shipped",
        }
        for known in known_models(home_of(home))
    ]
    show_rows(["name", "version", "task", "use", "sha256", "from"], rows, as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of 'covnode models list'.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one model's manifest.

    Example: `covnode models show covid-classifier-demo`
    """
    manifests = {
        known.bundle.manifest.name: known.bundle.manifest.model_dump() for known in known_models(home_of(home))
    }
    show_found(manifests.get(name), f"there is no model {name}: 'covnode models list' lists all.", as_json=as_json)


@app.command()
def install(
    name: Annotated[str, typer.Argument(help="r231")],
    source: Annotated[str, typer.Option("--from", help="File or URL of the weights.")],
    home: HomeOption = None,
    sha256: Annotated[
        str | None, typer.Option(help="Digest to expect; default: the published weights'.", show_default=False)
    ] = None,
) -> None:
    """Install weights that do not ship with covnode; their sha256 is checked first.

    Example: `covnode models install r231 --from ./unet_r231-d5d2fc3d.pth`
    """
    if name.lower() != "r231":
        raise ConfigurationError(f"{name} cannot be installed; r231 can.")
    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        bundle = install_r231(home_of(home), source, sha256, lambda size: progress.advance(task, size))
    stdout.print(f"Installed {bundle.manifest.name} in {bundle.folder}; restart the node to use it.", highlight=False)


@app.command()
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check the weights of every model against the sha256 of its manifest; exit code 1 when one differs.

    Example: `covnode models verify`
    """
    rows = []
    for folder in model_folders(home_of(home)):
        try:
            verify_bundle(folder)
            verdict = "as its manifest says"
        except CovnodeError as error:
            verdict = str(error)
        rows.append({"model": folder.name, "weights": verdict, "ok": verdict == "as its manifest says"})
    show_rows(["model", "weights"], rows, as_json=as_json)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)
