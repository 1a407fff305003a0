"""The network between hosts that tests run on one machine: a namespace each, or the loopback address for all.

With root and iproute2 each host has a network of its own, joined by a bridge to that of the test, where the database
and the PACS listen: as on hosts of their own nobody reaches another one's loopback address.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from covnode.cli.local_node import LOOPBACK

_NETWORKS = tuple(f"198.18.{number}" for number in range(256))
"""Set aside for tests of networks (RFC 2544)."""


@dataclass(frozen=True)
class Place:
    """Where a host runs: the address that it has, and the command that gives its processes its network."""

    address: str
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """What hosts reach each other by; ``address`` is that of the test itself, which all of them reach."""

    kind: str
    address: str
    places: tuple[Place, ...]


@contextmanager
def network_of(hosts: int) -> Iterator[Network]:
    """Make a network for so many hosts, and remove it."""
    why_not = _why_no_namespaces()
    if why_not:
        yield Network(f"loopback ({why_not})", LOOPBACK, (Place(LOOPBACK),) * hosts)
        return
    name = f"cov{os.getpid()}"
    namespaces = [f"{name}-{number}" for number in range(hosts)]
    try:
        network = _join(name, namespaces)
        yield network
    finally:
        for number, namespace in enumerate(namespaces):
            # A namespace lives on with whatever still runs in it, and would keep its cable.
            _ip("link", "delete", f"{name}v{number}", check=False)
            _ip("netns", "delete", namespace, check=False)
        _ip("link", "delete", name, check=False)


def _join(bridge: str, namespaces: list[str]) -> Network:
    taken = _ip("-o", "address", "show")
    start = os.getpid() % len(_NETWORKS)
    prefix = next(each for each in _NETWORKS[start:] + _NETWORKS[:start] if f" {each}." not in taken)
    _ip("link", "add", bridge, "type", "bridge")
    _ip("address", "add", f"{prefix}.1/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    places = []
    for number, namespace in enumerate(namespaces):
        address, cable = f"{prefix}.{number + 2}", f"{bridge}v{number}"
        _ip("netns", "add", namespace)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", cable, "master", bridge, "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", link, "up")
        places.append(Place(address, ("ip", "netns", "exec", namespace)))
    return Network("network namespaces", f"{prefix}.1", tuple(places))


def _why_no_namespaces() -> str:
    """Return what keeps this machine from them; nothing where it has them."""
    if os.geteuid() != 0:
        return "not root"
    if shutil.which("ip") is None:
        return "no iproute2"
    trial = f"cov{os.getpid()}-trial"
    try:
        _ip("netns", "add", trial)
    except subprocess.CalledProcessError as error:
        return f"ip netns add: {error.stderr.strip()}"
    _ip("netns", "delete", trial)
    return ""


def _ip(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True).stdout
