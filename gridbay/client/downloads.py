"""Fetching outputs: into one folder and no other place, whole and checked, or not at all."""

import hashlib
import os
from pathlib import Path, PurePosixPath

import httpx

from gridbay.client.refusals import storage_refusal
from gridbay.client.transport import storage_client
from market.customer_api import OutputView
from market.errors import InvalidInput, Unavailable


class DamagedOutput(Unavailable):
    """What arrived is not what the node declared."""

    code = "damaged_output"


def download(output: OutputView, folder: Path) -> Path:
    """Fetch one output below the folder, in place of what is there under its name; where it lies now."""
    target = place_of(output.path, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The market names the path: a link that lies in the folder must not lead it elsewhere.
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InvalidInput(f"{output.path}: a link in {folder} leads out of it", remedy="choose an empty folder")
    part = target.with_name(f".{target.name}.part")
    try:
        _fetch(output, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def place_of(path: str, folder: Path) -> Path:
    """Where an output of that path belongs. Raises InvalidInput for one that leaves the folder."""
    inner = PurePosixPath(path)
    if inner.is_absolute() or ".." in inner.parts or not inner.name or "\\" in path or "\0" in path:
        raise InvalidInput(f"the market names an output {path!r}, which leaves the folder: it was not fetched")
    return folder / inner


def _fetch(output: OutputView, part: Path) -> None:
    digest, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with (
            storage_client(output.url) as client,
            client.stream("GET", output.url) as response,
            os.fdopen(os.open(part, flags, 0o666), "wb") as file,
        ):
            if not response.is_success:
                response.read()
                raise storage_refusal(response)
            for piece in response.iter_bytes():
                size += len(piece)
                if size > output.size_bytes:
                    break
                digest.update(piece)
                file.write(piece)
    except httpx.HTTPError as error:
        raise Unavailable(f"{output.path} could not be fetched: {error or type(error).__name__}") from None
    if size != output.size_bytes or digest.hexdigest() != output.sha256:
        raise DamagedOutput(
            f"{output.path}: {size} bytes arrived that are not the {output.size_bytes} that were declared",
            remedy="fetch it again",
        )
