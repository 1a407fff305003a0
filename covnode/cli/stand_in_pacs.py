"""A stand-in PACS for the demo: a process of its own with its own AE, which keeps what it is sent.

Each stored object is one line on stdout (its path), so that who started it can wait for it.
"""

import itertools
import signal
import threading
from pathlib import Path

from pydicom.uid import CTImageStorage
from pynetdicom import AE, StoragePresentationContexts, evt

from covnode.dicom.dimse import SUCCESS, VERIFICATION


def run_stand_in_pacs(ae_title: str, address: tuple[str, int], folder: Path) -> None:
    """Accept and keep every object until the process is asked to stop."""
    folder.mkdir(parents=True, exist_ok=True)
    # A stand-in that was started again keeps what it had.
    numbers = itertools.count(sum(1 for _ in folder.iterdir()))
    telling = threading.Lock()

    def on_store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        path = folder / f"{dataset.Modality}-{next(numbers)}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        with telling:  # a thread for each association: else two lines may run into one
            print(path, flush=True)  # noqa: T201 (the protocol with the parent)
        return SUCCESS

    entity = AE(ae_title=ae_title)
    for context in StoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax or CTImageStorage)
    entity.add_supported_context(VERIFICATION)
    server = entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    print("ready", flush=True)  # noqa: T201 (the protocol with the parent)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopping.wait()
    if server is not None:
        server.shutdown()
