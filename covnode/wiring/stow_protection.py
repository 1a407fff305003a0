"""What stands between the network and STOW-RS: tokens, TLS, or a bind that nobody else reaches.

Comes from the settings; asked by the receiver before anything listens, and by the door for each request.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from covnode.errors import ConfigurationError
from covnode.receive.stow_tokens import UNNAMED_SENDER, TokenFile
from covnode.receive.tls import ReloadingServerContext
from covnode.settings import Settings


@dataclass(frozen=True)
class StowProtection:
    """What stands between the network and the spool; made before anything listens.

    Attributes
    ----------
    tokens
        None: no token is asked for.
    tls
        None: plain HTTP.
    """

    tokens: TokenFile | None
    tls: ReloadingServerContext | None

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> "StowProtection":
        """Return what the settings ask for; their paths are relative to ``folder``.

        Raises
        ------
        ConfigurationError
            A file is missing or bad, or nobody would have to prove who they are.
        """
        stow = settings.stow
        tls = ReloadingServerContext.of(settings.tls, folder) if stow.tls else None
        tokens = TokenFile(folder / stow.token_file) if stow.token_file else None
        is_mutual = stow.tls and settings.tls.client_ca != ""
        if tokens is None and not is_mutual and not is_loopback(settings.receive.bind):
            raise ConfigurationError(
                "stow.enabled: anybody could store instances here. Name a file of tokens by stow.token_file, or the "
                "CAs of the clients by tls.client_ca together with stow.tls, or set receive.bind to 127.0.0.1."
            )
        return cls(tokens, tls)

    def source_of(self, authorization: str | None) -> str | None:
        """Return who sends, by the Authorization header; None: nobody whom we know."""
        return UNNAMED_SENDER if self.tokens is None else self.tokens.source_of(authorization)


def is_loopback(bind: str) -> bool:
    """Whether only this host reaches an address that is listened on."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"
