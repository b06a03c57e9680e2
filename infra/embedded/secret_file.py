"""Files that hold one secret each: random, mode 0600, made once."""

import os
import secrets
from pathlib import Path

SECRET_BYTES = 32


def ensure_secret(path: Path) -> str:
    """The file's secret (64 hexadecimal digits); a new one if the file is not there. Never seen half written."""
    if path.exists():
        return path.read_text().strip()
    write_private(path, secrets.token_hex(SECRET_BYTES) + "\n")
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Put text in place of the file at once, readable by its owner alone."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
