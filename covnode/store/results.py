"""The folder of one analysis: the record and the objects, still under the pseudonymous identity."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from covnode.disk import sync_folder
from covnode.errors import CovnodeError
from covnode.records.result import AnalysisResult, ResultObject

MASKS = "masks.npz"
_RECORD = "result.json"


class StoredResult(BaseModel):
    """The file ``result.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: AnalysisResult
    objects: tuple[ResultObject, ...]


def save_result(folder: Path, stored: StoredResult) -> None:
    """Write the record, durably and at once; the objects lie in ``folder`` already."""
    target = folder / _RECORD
    temporary = folder / f"{_RECORD}.{os.getpid()}"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(stored.model_dump_json(indent=2))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(folder)


def load_result(folder: Path) -> StoredResult:
    """Read the record back.

    Raises
    ------
    CovnodeError
        It is not there.
    """
    try:
        stored = StoredResult.model_validate_json((folder / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CovnodeError(f"{folder.name} has no result on disk") from None
    # Where they lay when they were written: another host may know the folder by another path.
    objects = tuple(item.model_copy(update={"path": folder / item.path.name}) for item in stored.objects)
    return stored.model_copy(update={"objects": objects})
