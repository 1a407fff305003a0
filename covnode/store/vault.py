"""The identity vault: the receiver puts identities in, the sender takes them out; the worker cannot import it."""

from sqlalchemy.orm import Session

from covnode.errors import ConfigurationError
from covnode.records.identity import Identity
from covnode.store.identity_cipher import IdentityCipher
from covnode.store.tables import IdentityRow


class IdentityVault:
    """Identities of series revisions, sealed with the site's key."""

    def __init__(self, vault_key: bytes) -> None:
        self._cipher = IdentityCipher(vault_key)

    def keep(self, session: Session, series_id: str, revision: int, identity: Identity) -> None:
        """Seal and store; a repeat replaces."""
        sealed = self._cipher.seal(identity, f"{series_id}:{revision}")
        session.merge(IdentityRow(series_id=series_id, revision=revision, sealed=sealed))

    def read(self, session: Session, series_id: str, revision: int) -> Identity:
        """Unseal; ConfigurationError where there is none or the key is another one."""
        row = session.get(IdentityRow, (series_id, revision))
        if row is None:
            raise ConfigurationError(f"the vault holds no identity for {series_id} revision {revision}")
        return self._cipher.unseal(row.sealed, f"{series_id}:{revision}")
