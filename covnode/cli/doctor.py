"""``covnode doctor``: is the node able to work, and if not, what to do."""

import socket
from collections.abc import Callable

import typer

from covnode.cli.console import HomeOption, JsonOption, home_of, show_rows
from covnode.cli.queues import queues_of
from covnode.clock import utc_now
from covnode.deidentify import key_file
from covnode.deliver.scu import echo
from covnode.disk import free_gb
from covnode.errors import ConfigurationError, CovnodeError
from covnode.queue.leases import SILENT_S
from covnode.receive.commitment import REQUEST_SUFFIX
from covnode.receive.slots import AssociationSlots
from covnode.receive.tls import ReloadingServerContext, expires_at
from covnode.sections import DENSITY
from covnode.settings import PeerSettings, Settings
from covnode.store import analyses, deliveries, destinations, executors, queues, vault, views
from covnode.wiring import landlock
from covnode.wiring.commitments import GIVEN_UP
from covnode.wiring.confinement import WAY_OUT
from covnode.wiring.destinations import destination_of
from covnode.wiring.fetching import reachable
from covnode.wiring.key_rotation import behind, untied
from covnode.wiring.model_store import active_models, folder_of, load_model
from covnode.wiring.node import Node, open_node
from covnode.wiring.room import needs_of

_LEAST_CERTIFICATE_DAYS = 30
_WATCHDOG_GRACE_S = 60.0
Check = Callable[[Node], str]


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check configuration, folders, keys, database, models, disk, processes and peers; exit code 1 when one fails.

    Example: `covnode doctor`
    """
    node = open_node(home_of(home))
    checks: dict[str, Check] = {
        "keys": _keys,
        "folders": _folders,
        "confinement": _confinement,
        "database": _database,
        **({"object store": _object_store} if node.settings.objects.url else {}),
        "vault": _vault,
        "disk": _disk,
        "models": _models,
        "processes": _processes,
        "series": _series,
        "queues": _queues,
        "dead letters": _dead_letters,
        **_port_checks(node.settings),
        "associations": _associations,
        "commitments": _commitments,
        "certificate": _certificate,
        **{f"peer {name}": _peer_check(name, peer) for name, peer in node.settings.peers.items()},
    }
    rows = [{"check": "configuration", "ok": True, "finding": str(node.home.config)}]
    for name, check in checks.items():
        try:
            rows.append({"check": name, "ok": True, "finding": check(node)})
        except (CovnodeError, OSError) as error:
            rows.append({"check": name, "ok": False, "finding": str(error)})
    if not as_json:
        rows = [{**row, "ok": "yes" if row["ok"] else "NO"} for row in rows]
    show_rows(["check", "ok", "finding"], rows, as_json=as_json)
    if any(row["ok"] in {False, "NO"} for row in rows):
        raise typer.Exit(1)


def _keys(node: Node) -> str:
    newest = key_file.load(node.home.keys).newest
    return f"readable by the node's user alone; generation {newest} is the newest"


def _vault(node: Node) -> str:
    node.require_current_database()
    newest = key_file.load(node.home.keys).newest
    with node.transaction() as session:
        held, old, not_tied = vault.count(session), behind(session, newest), untied(session)
    if not_tied:
        raise CovnodeError(
            f"{not_tied} of {held} identities are tied to no pseudonym: run 'covnode db upgrade'; if that "
            "does not mend it, the key file is not the one that sealed them"
        )
    if old:
        return f"{held} identities; {old} rows are sealed by an older generation: 'covnode identities rotate --resume'"
    return f"{held} identities, sealed by generation {newest}"


def _confinement(_node: Node) -> str:
    version = landlock.version()
    if not version:
        return f"the kernel has no Landlock, so the worker could open the key file: {WAY_OUT}"
    return f"the kernel (Landlock {version}) opens neither keys nor received images to the worker"


def _folders(node: Node) -> str:
    for folder in node.home.folders:
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    return f"{len(node.home.folders)} writable"


def _database(node: Node) -> str:
    node.require_current_database()
    return "as this release needs"


def _object_store(node: Node) -> str:
    store = node.handover.store
    if store is None:
        return "none is needed: hosts share files.folder"
    store.probe(node.home.host)
    return f"{store.name} writes, reads, lists and removes"


def _disk(node: Node) -> str:
    needs = needs_of(node).values()
    room_gb = {need.folder: free_gb(need.folder) for need in needs}
    least_gb, warn_gb = min(room_gb.values()), node.settings.node.warn_free_gb
    for need in needs:
        if room_gb[need.folder] < need.least_gb:
            raise CovnodeError(
                f"{room_gb[need.folder]:.1f} GB free on the disk of {need.folder}, less than {need.setting} = "
                f"{need.least_gb:g}: {need.waits} until there is room"
            )
    if least_gb < warn_gb:
        raise CovnodeError(
            f"{least_gb:.1f} GB free, less than node.warn_free_gb = {warn_gb:g}: make room, have what is delivered "
            "removed ([retention]), or move the home"
        )
    return f"{least_gb:.0f} GB free"


def _models(node: Node) -> str:
    from covnode.wiring.model_check import checked  # noqa: PLC0415 (torch loads slowly, and only here)

    known = checked(node.home)
    refused = [f"{each.folder.name}: {each.refusal}" for each in known if each.refusal]
    if refused:
        raise ConfigurationError(f"refused: {'; '.join(refused)}")
    worker = node.settings.worker
    active = active_models(worker, node.home.models)
    for task, name in active.items():
        load_model(node.home.models, name, task)
    for name in worker.shadows:
        folder_of(node.home.models, name)
    lungs = [] if "lungs" in active else [f"lungs: {DENSITY}"]
    serving = ", ".join([*lungs, *(f"{task}: {name}" for task, name in active.items())])
    shadows = f"; shadows: {', '.join(worker.shadows)}" if worker.shadows else ""
    return f"{len(known)} verified; {serving}{shadows}"


def _processes(node: Node) -> str:
    with node.transaction() as session:
        alive = sorted(row.executor_id for row in executors.living(session, SILENT_S))
    return f"alive: {', '.join(alive)}" if alive else "none runs: start them by 'covnode serve'"


def _series(node: Node) -> str:
    with node.transaction() as session:
        counts = views.standing(session, node.settings.completeness.watchdog_s + _WATCHDOG_GRACE_S)
    finding = (
        f"{counts['receiving']} receiving, {counts['complete']} waiting for the choice, {counts['chosen']} for the "
        f"intake, {counts['quarantined']} in quarantine, "
        f"{counts['closed_by_force']} closed by the watchdog within a day"
    )
    if counts["stuck"]:
        raise CovnodeError(
            f"{counts['stuck']} not complete, chosen or taken in for longer than completeness.watchdog_s allows: does "
            f"the receiver run, what does its log say? See 'covnode series list' ({finding})"
        )
    return f"{finding}: see 'covnode series list'" if counts["quarantined"] else finding


def _queues(node: Node) -> str:
    with node.transaction() as session:
        rows = queues.overview(session, queues_of(node.settings))
    paused = [
        f"{row['queue']} is paused since {row['paused_at']:%Y-%m-%d %H:%M} UTC with {row['queued']} queued"
        for row in rows
        if row["state"] == "paused"
    ]
    if paused:
        return f"{'; '.join(paused)}: 'covnode queues resume' lets a queue go on"
    return f"{sum(row['queued'] for row in rows)} jobs queued, {sum(row['at_work'] for row in rows)} at work"


def _dead_letters(node: Node) -> str:
    with node.transaction() as session:
        failed, parked = len(analyses.failed(session)), len(deliveries.parked(session, None))
    if failed or parked:
        raise CovnodeError(
            f"{failed} analyses failed and {parked} deliveries are parked: 'covnode jobs list --dead' says why, "
            "'covnode jobs retry --all-dead' queues them again"
        )
    return "none"


def _port_check(port: int) -> Check:
    def check(node: Node) -> str:
        host = reachable(node.settings.receive.bind)
        try:
            socket.create_connection((host, port), timeout=2.0).close()
        except OSError:
            return f"{port}: nobody listens"
        return f"{port}: a node listens"

    return check


def _port_checks(settings: Settings) -> dict[str, Check]:
    """Return a check for each port that the settings open."""
    ports = {
        "port": (settings.receive.enabled, settings.receive.port),
        "port with TLS": (settings.tls.enabled, settings.tls.port),
        "port of STOW-RS": (settings.stow.enabled, settings.stow.port),
    }
    return {name: _port_check(port) for name, (enabled, port) in ports.items() if enabled}


def _associations(node: Node) -> str:
    receive = node.settings.receive
    slots = AssociationSlots(node.home.associations, receive.max_associations, receive.max_associations_per_peer)
    return f"{slots.in_use()} of {receive.max_associations} open"


def _commitments(node: Node) -> str:
    waiting = len(list(node.home.commitments.glob(f"*{REQUEST_SUFFIX}")))
    folder = node.home.commitments / GIVEN_UP
    given_up = len(list(folder.glob(f"*{REQUEST_SUFFIX}")))
    finding = f"{waiting} wait for their report, {given_up} given up"
    return f"{finding}: they lie in {folder}, and the log says why" if given_up else finding


def _certificate(node: Node) -> str:
    settings = node.settings
    if not settings.tls.enabled and not (settings.stow.enabled and settings.stow.tls):
        return "none is needed: TLS is off"
    ReloadingServerContext.of(settings.tls, node.home.root)
    expires = expires_at(node.home.root / settings.tls.certificate)
    days = (expires - utc_now()).days
    if days < _LEAST_CERTIFICATE_DAYS:
        until = f"expires on {expires:%Y-%m-%d}" if days >= 0 else f"has expired on {expires:%Y-%m-%d}"
        raise ConfigurationError(f"{settings.tls.certificate} {until}: renew it, no restart is needed")
    return f"valid for {days} days"


def _peer_check(name: str, peer: PeerSettings) -> Check:
    def check(node: Node) -> str:
        with node.transaction() as session:
            state = destinations.standing(session, name)
        away = ""
        if state["away_since"]:
            away = (
                f"; away since {state['away_since']:%Y-%m-%d %H:%M} UTC, asked again at "
                f"{state['next_probe_at']:%H:%M}; {state['waiting']} deliveries wait"
            )
        try:
            echo(node.settings.node.ae_title, destination_of(name, peer, node.settings.deliver.timeout_s))
        except CovnodeError as error:
            raise CovnodeError(f"{error}{away}") from None
        return f"answers the C-ECHO{away}: 'covnode peer retry {name}' sends them now" if away else "answers the C-ECHO"

    return check
