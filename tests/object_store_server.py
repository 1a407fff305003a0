"""An S3 server on the loopback address, which a test can stop in the middle and start again with what it held."""

import logging
from typing import Any

import obstore
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from covnode.cli.local_node import LOOPBACK, free_port

BUCKET = "covnode-test"
PREFIX = "node"
ACCESS_KEY = "AKIASENTINELKEY"
SECRET_KEY = "sentinel-secret-of-the-store"


class ObjectStoreServer:
    """The server; its objects outlive a stop."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server: ThreadedMotoServer | None = None
        self.backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """The section ``objects`` of a node that uses it, but for the credentials."""
        return {"url": f"s3://{BUCKET}/{PREFIX}", "endpoint_url": self.endpoint, "tls": False}

    def start(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address=LOOPBACK, port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def make_bucket(self) -> None:
        self.backend.create_bucket(BUCKET, "us-east-1")

    def forget(self) -> None:
        """Remove all that it holds."""
        self.backend.reset()

    @property
    def store(self) -> S3Store:
        """The node's prefix, by the eyes of another client."""
        return S3Store(
            BUCKET,
            prefix=PREFIX,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    @property
    def keys(self) -> list[str]:
        """Names of all objects, from the prefix on."""
        return sorted(each["path"] for batch in obstore.list(self.store) for each in batch)

    def all_bytes(self) -> bytes:
        """Return the content of all objects, one behind the other."""
        return b"".join(bytes(obstore.get(self.store, key).bytes()) for key in self.keys)
