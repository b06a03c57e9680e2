"""Solana keypair files: a JSON array of 64 numbers, as Solana's own tools write it, readable by their owner alone."""

import json
import os
import stat
from pathlib import Path

from solders.keypair import Keypair


def load_keypair(path: Path) -> Keypair:
    """Raises ValueError if the file is no keypair or if others than its owner can read it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ValueError(
            f"{path}: a keypair file must be readable by its owner alone (chmod 600), its mode is {mode:o}"
        )
    try:
        numbers = json.loads(path.read_text())
        return Keypair.from_bytes(bytes(numbers))
    except (ValueError, TypeError) as error:
        # Not chained: the cause may quote the file, and the file is a secret.
        raise ValueError(f"{path}: not a Solana keypair file ({type(error).__name__})") from None


def ensure_keypair(path: Path) -> Keypair:
    """The keypair at `path`, made once if there is none; a crash leaves either no file or a whole one."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(list(bytes(Keypair()))))
            file.flush()
            os.fsync(file.fileno())
        try:
            # link, unlike rename, refuses to replace a key that another process made meanwhile
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return load_keypair(path)
