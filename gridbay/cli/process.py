"""`gridbay process NAME`: one process of a market, as the supervisor of `gridbay up` or an operator starts it."""

import importlib
import importlib.util
import os
import pkgutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from gridbay.cli.extras import need_embedded
from market.errors import InvalidInput

app = typer.Typer()
PACKAGE = "gridbay.processes"


@app.command()
def process(name: Annotated[str, typer.Argument(help="migrate, api, worker, beat, ...", show_default=False)]) -> None:
    """Run one process of a market."""
    # The module is looked up by what the person typed: only those of the package are taken.
    if name not in known_processes():
        raise InvalidInput(f"there is no process {name!r}", remedy=f"one of: {', '.join(known_processes())}")
    with need_embedded(), _counting_folder(name):
        importlib.import_module(f"{PACKAGE}.{name}").main()


@contextmanager
def _counting_folder(name: str) -> Iterator[None]:
    """Where the children of a prefork worker count, for their parent to be asked; before the library is imported."""
    bind, pool = os.environ.get("GRIDBAY_METRICS_BIND"), os.environ.get("GRIDBAY_WORKER_POOL", "prefork")
    if name != "worker" or not bind or pool != "prefork":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="gridbay-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def known_processes() -> list[str]:
    """The modules of the package that have a `main`; their source is read, they are not loaded."""
    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(name for name in names if _has_main(name))


def _has_main(name: str) -> bool:
    spec = importlib.util.find_spec(f"{PACKAGE}.{name}")
    if spec is None or spec.origin is None:
        return False
    with open(spec.origin) as file:  # noqa: PTH123
        return "\ndef main()" in file.read()
