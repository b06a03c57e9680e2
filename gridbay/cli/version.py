"""`gridbay version`."""

from importlib.metadata import PackageNotFoundError, version

import typer

app = typer.Typer()


@app.command()
def show_version() -> None:
    """Print the version."""
    print_version()


def print_version() -> None:
    try:
        print(f"gridbay {version('gridbay')}")
    except PackageNotFoundError:
        # Run from a checkout that was never installed.
        print("gridbay (not installed)")
