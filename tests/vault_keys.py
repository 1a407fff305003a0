"""Keys of a vault that a test rotates at will."""


class GrowingKeys:
    """The vault's keys, one a generation."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = list(keys or [bytes(range(32))])

    @property
    def newest_generation(self) -> int:
        return len(self.keys)

    def vault_key(self, generation: int) -> bytes:
        return self.keys[generation - 1]
