"""A PostgreSQL server of the tests' own, on a free port, which they may start and stop at will."""

from covnode.chaos import postgresql
from covnode.cli.local_node import LOOPBACK, free_port


class PostgresqlServer(postgresql.PostgresqlServer):
    """As the chaos starts one."""

    def __init__(self, host: str = LOOPBACK) -> None:
        super().__init__(free_port(), host)
