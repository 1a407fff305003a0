"""What one process makes for another: de-identified copies and results, in folders or in an object store.

Where hosts share the folder of files, what was made gets its name there, in the transaction that records it. Where they
share none, it goes to the object store before that transaction, which records its place; whoever needs it fetches it.
What names a patient is never handed over: the spool and the outbox stay on their host.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from covnode.errors import StorageAway, StoreAway
from covnode.logs import get_logger
from covnode.store.folders import publish
from covnode.store.objects import ObjectStore
from covnode.wiring.setbacks import in_words

_PAUSE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Handover:
    """One way to hand folders over.

    Attributes
    ----------
    store
        None: hosts share the folder of files, and every ``place`` is None.
    """

    store: ObjectStore | None

    def require(self) -> None:
        """Raise StoreAway where nothing could be handed over now."""
        if self.store is not None:
            self.store.require()

    def upload(self, made: Path, name: str, writer: str) -> str | None:
        """Bring what was made to where the others can find it, before the transaction; return its place.

        Parameters
        ----------
        name
            As of `name_of_copy` and `name_of_result`.

        Raises
        ------
        StoreAway
            The store does not answer, or refuses.
        """
        return None if self.store is None else self.store.upload(made, name, writer)

    def publish(self, made: Path, folder: Path, place: str | None) -> None:
        """Give what was made its name, in the transaction; what has a place is found by that."""
        if place is None:
            publish(made, folder)

    def settle(self, made: Path, name: str, place: str | None) -> None:
        """Remove what is of no use any more, after the transaction: what others began, and what was uploaded.

        Raises
        ------
        StoreAway
            As `upload`; what is left goes with the series.
        """
        if self.store is not None and place is not None:
            shutil.rmtree(made, ignore_errors=True)
            self.store.remove(name, but=place)

    def fetched(self, folder: Path, place: str | None, cache: Path) -> Path:
        """Return where a folder can be read: itself, or what was fetched from its place.

        Parameters
        ----------
        cache
            Where that is put; it is there already: it was fetched before.

        Raises
        ------
        TransientError
            It is not at its place, or not whole. StoreAway: as `upload`. StorageAway: it cannot be written here.
        """
        if place is None:
            return folder
        if self.store is None:
            raise StorageAway("it lies in an object store, and objects.url names none")
        if not cache.exists():
            try:
                self.store.fetch(place, cache)
            except OSError as error:
                raise StorageAway(f"what is in the object store cannot be written here: {in_words(error)}") from None
        return cache

    def remove(self, series_id: str) -> None:
        """Remove all that was handed over of a series. StoreAway as `upload`."""
        if self.store is not None:
            self.store.remove(series_id)

    def size_bytes(self, series_id: str) -> int:
        """Return how much of a series lies in the store. StoreAway as `upload`."""
        return 0 if self.store is None else self.store.size_bytes(series_id)


def name_of_copy(series_id: str, revision: int) -> str:
    """Return the name under which the de-identified copy of a series is handed over."""
    return f"{series_id}/r{revision}"


def name_of_result(series_id: str, analysis_id: str) -> str:
    """Return the name under which the result of an analysis is handed over."""
    return f"{series_id}/{analysis_id}"


def patiently(step: Callable[[], T], go_on: Callable[[], None]) -> T:
    """Take a step when the store answers: to whoever holds a job that it is away costs time, and nothing that was done.

    Parameters
    ----------
    go_on
        Asked between two tries; what it raises ends them.
    """
    while True:
        try:
            return step()
        except StoreAway as error:
            get_logger().warning("waits_for_object_store", reason=str(error))
        time.sleep(_PAUSE_S)
        go_on()
