"""`gridbay process NAME`: one process of a market, as the supervisor of `gridbay up` or an operator starts it."""

import importlib
import importlib.util
import pkgutil
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
    with need_embedded():
        module = importlib.import_module(f"{PACKAGE}.{name}")
    module.main()


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
