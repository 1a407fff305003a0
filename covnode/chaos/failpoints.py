"""Puts the failpoints into a process of the node, by wrapping what the points name; called by chaos.entry alone.

A process that was started in any other way has none.
"""

import functools
import importlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covnode.chaos.journal import CLAIMS, WRITES, Journal
from covnode.chaos.points import POINTS, Point, Role
from covnode.chaos.switches import FOLDER, Switches

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def switches_of_the_environment() -> Switches:
    """Return the switches that the chaos told this process of."""
    return Switches(Path(os.environ[FOLDER]))


def run_on_host(name: str) -> None:
    """Have this process take the name for that of its host."""
    socket.gethostname = lambda: name


def install(role: Role, switches: Switches) -> None:
    """Wrap every target of this role."""
    journal = Journal(switches.folder)
    for targets, told in ((CLAIMS, journal.claiming), (WRITES, journal.writing)):
        for target in targets:
            if role is _role_of(target):
                wrap(target, told)
    for point in POINTS:
        if role in {point.role, point.also}:
            wrap(point.target, functools.partial(_reaching, point, role, switches))


def _role_of(target: str) -> Role:
    return Role.WORK if target.startswith("covnode.wiring.worker:") else Role.SEND


def _reaching(point: Point, role: Role, switches: Switches, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def reaching(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 (whatever the target takes and gives)
        if not point.after:
            switches.reached(point.name, role)
        result = call(*arguments, **keywords)
        if point.after:
            switches.reached(point.name, role)
        return result

    return reaching


def find(target: str) -> tuple[Any, str, Callable[..., Any]]:
    """Return the holder of what a target names, its name there, and itself.

    Raises
    ------
    ImportError, AttributeError
        There is no such thing.
    """
    module, _, path = target.partition(":")
    holder: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    return holder, name, getattr(holder, name)


def wrap(target: str, wrapper: Wrap) -> None:
    """Put a wrapper in the place of what a target names."""
    holder, name, call = find(target)
    setattr(holder, name, wrapper(call))
