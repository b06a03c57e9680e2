"""A fault of the command line's own: one line for the person, everything about it in a file."""

import os
import sys
import tempfile
import traceback
from pathlib import Path

import platformdirs

from market.ids import new_id


def tell_fault(error: Exception) -> None:
    """Write both. The arguments are not written down: there may be a token among them."""
    number = new_id("req")
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    said = f"gridbay: something that was not foreseen went wrong here ({what})"
    try:
        place = f"; everything about it is in {_written(number, error)}"
    except OSError:
        place = ""
    sys.stderr.write(f"{said}{place}\n  mend: please tell the project, with that file; its number is {number}\n")


def _written(number: str, error: Exception) -> Path:
    """The file, for its owner alone."""
    text = f"{number}\ncommand: {' '.join(sys.argv[1:2])}\n\n{''.join(traceback.format_exception(error))}"
    for folder in (Path(platformdirs.user_log_dir("gridbay")), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"fault-{number}.txt"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
        except OSError:
            continue
        return path
    raise OSError("no folder takes it")
