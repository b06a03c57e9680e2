"""The addresses that a market needs to know of its local chain before the chain runs.

`python -m gridbay.standalone.chain_keys FOLDER` makes them and prints them: a process of its own, so that the
supervisor stays small and never loads the chain's libraries.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MAKE_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class ChainKeys:
    """mint: the address of the test USDC; treasury: that of the key that pays out; treasury_keypair: its file."""

    mint: str
    treasury: str
    treasury_keypair: Path


def chain_keys(folder: Path) -> ChainKeys:
    """The keys of the local chain in this folder, made if need be. Raises OSError that says why they cannot be made."""
    written = folder / "addresses.json"
    known = _read(written)
    if known is not None and known.treasury_keypair.is_file():
        return known
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS_MAX, check=False)
    if result.returncode != 0:
        raise OSError(f"the keys of the local chain cannot be made in {folder}:\n{result.stderr[-2000:]}")
    made = _read(written)
    assert made is not None, written
    return made


def _read(path: Path) -> ChainKeys | None:
    try:
        value = json.loads(path.read_text())
        return ChainKeys(value["mint"], value["treasury"], Path(value["treasury_keypair"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _make(folder: Path) -> None:
    # Lazy: the libraries of the chain, only in the process that makes keys.
    from billing.chains.local.genesis import prepare  # noqa: PLC0415

    made = prepare(folder)
    part = folder / "addresses.json.part"
    addresses = {"mint": made.mint, "treasury": made.treasury, "treasury_keypair": str(made.treasury_keypair_path)}
    part.write_text(json.dumps(addresses))
    part.replace(folder / "addresses.json")


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
