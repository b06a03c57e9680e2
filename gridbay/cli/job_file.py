"""job.yaml as it was written: plain data for the market, and for each fault its line and column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from market.errors import FieldError, InvalidInput
from market.specs import InvalidSpec, JobSpec, parse_job_spec

FILE_MAX_BYTES = 1024 * 1024
DEPTH_MAX = 30


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """line and column count from 0; width: how many characters are meant."""

    line: int
    column: int
    width: int = 1


class WrongJobFile(InvalidSpec):
    """excerpt: every fault with the line it is in and a caret below it."""

    def __init__(self, faults: Sequence[FieldError], excerpt: Text) -> None:
        super().__init__(excerpt.plain, errors=faults)
        self.excerpt = excerpt


@dataclass(frozen=True, slots=True)
class JobFile:
    """tree: as ruamel read it, with the places; data: the same as plain data."""

    path: Path
    text: str
    tree: Any
    data: dict[str, Any]

    def parse(self) -> JobSpec:
        """The specification. Raises WrongJobFile."""
        try:
            return parse_job_spec(self.data)
        except InvalidSpec as error:
            raise self.explained(error) from None

    def explained(self, error: InvalidSpec) -> WrongJobFile:
        """The same faults with their places in this file."""
        faults = error.errors or (FieldError("", error.detail),)
        lines = self.text.splitlines()
        placed = sorted(((locate(self.tree, fault), fault.detail) for fault in faults), key=lambda item: item[0])
        return WrongJobFile(faults, Text("\n").join(_excerpt(self.path, lines, *item) for item in placed))


def read_job_file(path: Path) -> JobFile:
    """Read it. Raises WrongJobFile for what is not YAML or not a mapping, InvalidInput for what cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > FILE_MAX_BYTES:
        raise InvalidSpec(f"{path} has more than {FILE_MAX_BYTES // 1024} kB: that is no job")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: byte {error.start} is not UTF-8", remedy="store it as UTF-8") from None
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        raise _syntax_error(path, text, error) from None
    except (YAMLError, ValueError, RecursionError) as error:
        # Characters that YAML forbids, or a scalar that claims a type it has not.
        raise InvalidSpec(f"{path}: not YAML: {error}") from None
    plain = _plain(tree)
    whole = JobFile(path, text, tree, plain if isinstance(plain, dict) else {})
    if not isinstance(plain, dict):
        raise whole.explained(InvalidSpec("a job is a mapping of fields such as `run: python train.py`"))
    return whole


def locate(tree: Any, fault: FieldError) -> Place:
    """Where a fault is: at its value, at its name where that is what is wrong, or at the nearest there is."""
    place, node = _start(tree), tree
    parts = [part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")[1:]]
    for number, part in enumerate(parts, start=1):
        about_the_name = number == len(parts) and fault.detail.startswith(f"`{part}` is")
        try:
            if isinstance(node, CommentedMap):
                key = next(key for key in node if str(key) == part)
                line, column = node.lc.key(key) if about_the_name else node.lc.value(key)
                node = node[key]
                place = Place(line, column, len(part) if about_the_name else _width(node))
            elif isinstance(node, CommentedSeq):
                line, column = node.lc.item(int(part))
                node = node[int(part)]
                place = Place(line, column, _width(node))
            else:
                return place
        except (StopIteration, LookupError, ValueError, TypeError):
            # A field that is missing, or one that a merge key (<<) brought from elsewhere.
            return place
    return place


def _start(node: Any) -> Place:
    return Place(node.lc.line, node.lc.col) if isinstance(node, CommentedMap | CommentedSeq) else Place(0, 0)


def _width(value: Any) -> int:
    return 1 if isinstance(value, Mapping | list) or not str(value) else len(str(value).splitlines()[0])


def _excerpt(path: Path, lines: list[str], place: Place, detail: str) -> Text:
    """file:line:column: what, the line itself, and a caret below the place."""
    line = lines[place.line] if place.line < len(lines) else ""
    number = f"{place.line + 1:5} | "
    carets = "^" * max(1, min(place.width, len(line) - place.column))
    return Text.assemble(
        (f"{path}:{place.line + 1}:{place.column + 1}: ", "bold"),
        detail,
        "\n",
        (number, "dim"),
        line,
        "\n",
        (" " * (len(number) - 2) + "| ", "dim"),
        " " * place.column,
        (carets, "bold red"),
    )


def _syntax_error(path: Path, text: str, error: MarkedYAMLError) -> WrongJobFile:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line, mark.column) if mark is not None else Place(0, 0)
    detail = error.problem or error.context or "not YAML"
    begun = error.context_mark
    if error.problem and error.context and begun is not None and begun.line != place.line:
        detail = f"{error.problem} ({error.context} that began in line {begun.line + 1})"
    if type(error).__name__ == "DuplicateKeyError":
        detail = str(error.problem).split(" with value")[0]
    elif "\t" in text.splitlines()[min(place.line, len(text.splitlines()) - 1)][: place.column + 1]:
        detail = f"{detail}: indent with spaces, not tabs"
    return WrongJobFile((FieldError("", detail),), _excerpt(path, text.splitlines(), place, detail))


def _plain(value: Any, depth: int = 0) -> Any:
    """Without ruamel's own types, so that it can be checked and sent as JSON."""
    if depth > DEPTH_MAX:
        raise InvalidSpec(f"the job is nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, str) else key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    # Dates and the like mean nothing in a job; as text they are refused where they stand.
    return str(value)
