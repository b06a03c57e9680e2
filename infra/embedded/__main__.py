"""`python -m infra.embedded postgres|valkey FOLDER PORT`: prepare a server and become it, in the foreground."""

import os
import sys
from pathlib import Path

from infra.embedded.errors import EmbeddedServerError
from infra.embedded.postgres import Postgres
from infra.embedded.server import Server
from infra.embedded.valkey import Valkey

SERVERS: dict[str, type[Postgres] | type[Valkey]] = {"postgres": Postgres, "valkey": Valkey}


def main(arguments: list[str]) -> None:
    """Returns never: it becomes the server, or exits and says why not."""
    if len(arguments) != 3 or arguments[0] not in SERVERS or not arguments[2].isdecimal():
        sys.exit(f"usage: python -m infra.embedded {'|'.join(SERVERS)} FOLDER PORT")
    name, folder, port = arguments
    server: Server = SERVERS[name](Path(folder), int(port))
    try:
        server.prepare()
        argv = server.argv()
    except (EmbeddedServerError, OSError) as error:
        sys.exit(f"{name}: {error}")
    # As the same process: its pid, its parent and the kernel's promise to kill it with the parent stay.
    os.execve(argv[0], argv, server.env())  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
