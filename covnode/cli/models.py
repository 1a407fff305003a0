"""``covnode models``: what the node analyses with."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from covnode.cli.console import HomeOption, JsonOption, home_of, show_found, show_rows, stderr, stdout
from covnode.cli.settings_file import read_document, set_value, write_document
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.infer.bundles import ModelBundle, load_bundle
from covnode.records.result import DEMONSTRATION
from covnode.sections import DENSITY, WorkerSettings
from covnode.settings import load_settings
from covnode.store import shadows
from covnode.store.engine import revisions
from covnode.wiring.model_store import KnownModel, active_models, folder_of, known_models
from covnode.wiring.node import open_node

app = typer.Typer(no_args_is_help=True, help="What the node analyses with.")
NameArgument = Annotated[str, typer.Argument(help="A name of 'covnode models list'.")]
_COLUMNS = ["name", "version", "task", "serves", "use", "sha256", "from", "refused"]


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the models, shipped and installed; which of them serve, run as a shadow or are refused.

    Example: `covnode models list --json`
    """
    place = home_of(home)
    worker = _settings(place)
    rows = [_row(known, _service(known, worker, place), as_json=as_json) for known in known_models(place)]
    show_rows(_COLUMNS, rows, as_json=as_json)


def _row(known: KnownModel, serves: str, *, as_json: bool) -> dict[str, object]:
    bundle = known.bundle
    if bundle is None:
        about: dict[str, object] = {"name": known.folder.name, "version": None, "task": None, "use": None}
    else:
        use = DEMONSTRATION if bundle.metadata.covnode.demonstration else "as its card says"
        about = {"name": bundle.name, "version": bundle.metadata.version, "task": bundle.task, "use": use}
    digest = bundle.sha256 if bundle else None
    return {
        **about,
        "serves": serves,
        "sha256": digest if as_json or digest is None else digest[:12],
        "from": "installed" if known.installed else "shipped",
        "refused": known.refusal,
    }


def _service(known: KnownModel, worker: WorkerSettings, home: Home) -> str:
    if known.folder.name in active_models(worker, home.models).values():
        return "active"
    return "shadow" if known.folder.name in worker.shadows else ""


@app.command()
def show(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one model's metadata, and how it agreed as a shadow with what served.

    Example: `covnode models show covid-classifier-demo`
    """
    place = home_of(home)
    bundle = load_bundle(folder_of(place.models, name))
    found: dict[str, Any] = {**bundle.metadata.model_dump(), "network": bundle.network.model_dump(exclude={"target"})}
    found["as_shadow"] = _agreement(place, bundle)
    show_found(found, name, as_json=as_json)


def _agreement(home: Home, bundle: ModelBundle) -> list[dict[str, Any]]:
    if not home.config.exists():
        return []
    node = open_node(home)
    current, _ = revisions(node.engine)
    if current is None:
        return []
    node.require_current_database()
    with node.transaction() as session:
        return shadows.agreement(session, bundle.sha256)


@app.command()
def card(name: NameArgument, home: HomeOption = None) -> None:
    """Print one model's card.

    Example: `covnode models card severity-demo`
    """
    text = load_bundle(folder_of(home_of(home).models, name)).card
    if not text:
        raise ConfigurationError(f"{name} has no card.")
    stdout.print(text, highlight=False, markup=False, end="")


@app.command()
def install(
    name: Annotated[str, typer.Argument(help="r231, r231covidweb or ltrclobes; or the name of your own bundle")],
    source: Annotated[str, typer.Option("--from", help="File or URL of the weights; or the folder of your bundle.")],
    home: HomeOption = None,
    sha256: Annotated[
        str | None, typer.Option(help="Digest to expect; default: the published weights'.", show_default=False)
    ] = None,
) -> None:
    """Install a model that does not ship with covnode: its sha256 is checked, its weights become safetensors.

    Example: `covnode models install r231 --from ./unet_r231-d5d2fc3d.pth`
    """
    from covnode.wiring.model_install import PUBLISHED, install_bundle, install_published  # noqa: PLC0415 (torch)

    key, place = name.lower(), home_of(home)
    if key in PUBLISHED:
        with Progress(console=stderr, transient=True) as progress:
            task = progress.add_task("reading", total=None)
            bundle = install_published(place, key, source, sha256, lambda size: progress.advance(task, size))
    elif Path(source).is_dir():
        bundle = install_bundle(place, key, Path(source))
    else:
        raise ConfigurationError(
            f"{source} is no folder of a bundle; from a file or URL are installed {', '.join(PUBLISHED)}."
        )
    stdout.print(
        f"Installed {bundle.name} in {bundle.folder}. 'covnode models list' says what serves; to have this one serve: "
        f"'covnode models activate {key}'.",
        highlight=False,
    )


@app.command()
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check every model: metadata, sha256, input contract, and that the weights fit its network; exit code 1 if not.

    Example: `covnode models verify`
    """
    from covnode.wiring.model_check import checked  # noqa: PLC0415 (torch)

    rows = [
        {"model": known.folder.name, "verdict": known.refusal or "as its metadata say", "ok": known.bundle is not None}
        for known in checked(home_of(home))
    ]
    show_rows(["model", "verdict"], rows, as_json=as_json)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


@app.command()
def activate(
    name: Annotated[str, typer.Argument(help="A name of 'covnode models list'; density: lungs by rules.")],
    home: HomeOption = None,
) -> None:
    """Let a model serve its task; it is checked first. A running node takes it up at its next start.

    Example: `covnode models activate r231covidweb`
    """
    place = home_of(home)
    if name.lower() == DENSITY:
        task, chosen = "lungs", DENSITY
    else:
        bundle = _checked(place, name)
        task, chosen = bundle.task, bundle.name.lower()
    document = read_document(place)
    set_value(document, f"worker.{task}", f'"{chosen}"')
    _set_shadows(document, [each for each in _settings(place).shadows if each != chosen])
    write_document(place, document)
    stdout.print(f"{chosen} serves {task}; restart the node to use it.", highlight=False)


@app.command()
def shadow(
    name: NameArgument,
    home: HomeOption = None,
    off: Annotated[bool, typer.Option("--off", help="Let it run no more.")] = False,
) -> None:
    """Let a model run in silence after each analysis, in place of another shadow of its task; it is checked first.

    What it answers is kept beside what served, and goes into nothing that leaves: 'covnode models show NAME'.

    Example: `covnode models shadow r231covidweb`
    """
    place = home_of(home)
    worker, key = _settings(place), name.lower()
    if off and key not in worker.shadows:
        raise ConfigurationError(f"{name} is no shadow: there are {', '.join(worker.shadows) or 'none'}.")
    others = [each for each in worker.shadows if each != key]
    if not off:
        bundle = _checked(place, name)
        if key in active_models(worker, place.models).values():
            raise ConfigurationError(f"{name} serves {bundle.task} itself: a shadow is another model.")
        tasks = {known.folder.name: known.bundle.task for known in known_models(place) if known.bundle}
        others = [each for each in others if tasks.get(each) != bundle.task]
    document = read_document(place)
    _set_shadows(document, others if off else [*others, key])
    write_document(place, document)
    stdout.print(f"{key} is {'no ' if off else 'a '}shadow; restart the node to use it.", highlight=False)


def _set_shadows(document: Any, names: list[str]) -> None:  # noqa: ANN401 (tomlkit's)
    set_value(document, "worker.shadows", "[" + ", ".join(f'"{name}"' for name in names) + "]")


def _checked(home: Home, name: str) -> ModelBundle:
    from covnode.wiring.model_check import check  # noqa: PLC0415 (torch)

    return check(folder_of(home.models, name))


def _settings(home: Home) -> WorkerSettings:
    return load_settings(home).worker if home.config.exists() else WorkerSettings()
