"""Commands that are loaded when they are run: `gridbay --help` knows them by name, place and one line."""

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_COMPLETION = ("install_completion", "show_completion")


@dataclass(frozen=True, slots=True)
class Entry:
    """name: as it is typed; target: "module:attribute" of its Typer or group; help: its own first line."""

    name: str
    target: str
    help: str
    panel: str = "Commands"
    hidden: bool = False


class NotLoadedYet(TyperCommand):
    """Stands for a command wherever only its name and its line are needed."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(name=entry.name, help=entry.help, rich_help_panel=entry.panel, hidden=entry.hidden)
        self._entry = entry

    def load(self) -> Any:
        """The real command."""
        module, _, attribute = self._entry.target.partition(":")
        # That this import is late is the point of this module.
        found = getattr(importlib.import_module(module), attribute)
        command: Any = typer.main.get_command(found) if isinstance(found, typer.Typer) else found
        command.name = self._entry.name
        # Completion belongs to the program, not to each of its commands.
        command.params = [param for param in command.params if param.name not in _COMPLETION]
        return command


class Commands(TyperGroup):
    """A group whose commands are loaded when one of them is resolved."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, NotLoadedYet) else command, rest


def group_of(app: typer.Typer, entries: tuple[Entry, ...]) -> Any:
    """The group of a Typer (with `cls=Commands` and a callback), with these commands."""
    group: Any = typer.main.get_command(app)
    for entry in entries:
        group.add_command(NotLoadedYet(entry))
    return group
