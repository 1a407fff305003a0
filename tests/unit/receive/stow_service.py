"""The STOW-RS application over a real spool, without a socket."""

import hashlib
from dataclasses import dataclass, field
from functools import partial

import anyio
import httpx
from pydicom.uid import CTImageStorage
from stow_bodies import CONTENT_TYPE

from covnode.receive.spool import Spool
from covnode.receive.stow import StowAdmission, StowLimits, StowService
from covnode.receive.stow_upload import TakenInstances, UploadStage

TOKEN = "Bearer secret"
TAKEN = TakenInstances(frozenset({CTImageStorage}), frozenset(), max_bytes=10_000_000)


def digest(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass
class FakeGate:
    """Open for as many questions as given; then closed."""

    answers: list = field(default_factory=list)

    def closed_because(self):
        return self.answers.pop(0) if len(self.answers) > 1 else (self.answers or [None])[0]


class StowUnderTest:
    def __init__(self, folder, *, taken=TAKEN, limits=None, gate=None, spool=None):
        self.incoming = folder / "incoming"
        self.incoming.mkdir()
        self.folder = folder
        self.messages = []
        self.service = StowService(
            UploadStage(spool or Spool(folder, self.incoming, digest), gate or FakeGate(), self.messages.append, taken),
            StowAdmission(lambda a: a != "192.0.2.66", lambda header: "CT1" if header == TOKEN else None),
            limits or StowLimits(max_requests=2, silence_s=5, request_s=30),
        )
        self.app = self.service.application()

    async def asend(self, content, path="/studies", address="192.0.2.1", **headers):
        named = {"Authorization": TOKEN, "Content-Type": CONTENT_TYPE}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.post(path, content=content, headers={k: v for k, v in named.items() if v is not None})

    def send(self, content, *arguments, **options):
        return anyio.run(partial(self.asend, content, *arguments, **options))

    def stored(self):
        """The data sets in the spool, by file name."""
        return {path.name: path.read_bytes() for path in self.folder.glob("*/*.dcm")}

    def kinds(self):
        return [type(message) for message in self.messages]
