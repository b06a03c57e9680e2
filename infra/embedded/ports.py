"""Free TCP ports on loopback."""

import random
import socket
from collections.abc import Container

LOOPBACK = "127.0.0.1"
# Below the kernel's own range for outgoing connections (from 32768), so that none takes a port between our choice of
# it and the server's bind; above Ray's worker ports (10002 to 19999).
FIRST, LAST = 20_000, 31_999
TRIES_MAX = 500


def is_free(port: int) -> bool:
    """Whether a server could listen there now; connections of an ended one that still linger do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(taken: Container[int] = ()) -> int:
    """A port nobody listens on and that is not in `taken`. Raises OSError if hundreds of tries find none."""
    for _ in range(TRIES_MAX):
        port = random.randint(FIRST, LAST)  # noqa: S311 (not a secret)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"found no free port on {LOOPBACK} between {FIRST} and {LAST} in {TRIES_MAX} tries")
