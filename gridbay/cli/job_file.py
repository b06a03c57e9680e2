"""job.yaml as it was written: plain data for the market, and for each fault its line and column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.text import Text
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from market.errors import FieldError, InvalidInput
from market.faults import pointer_of
from market.specs import InvalidSpec, JobSpec, parse_job_spec

FILE_MAX_BYTES = 256 * 1024
DEPTH_MAX = 30
FAULTS_SHOWN_MAX = 30
VALUES_MAX = 20_000
"""Of all that a file says, aliases written out: a few lines of them can mean millions."""
_ABOUT_THE_NAME = frozenset({"unknown_field", "not_yet", "wrong_name"})
_NO_MAPPING = "a job is a mapping of fields such as `run: python train.py`"


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
        excerpts = [_excerpt(self.path, lines, *item) for item in placed[:FAULTS_SHOWN_MAX]]
        if len(placed) > FAULTS_SHOWN_MAX:
            excerpts.append(Text(f"and {len(placed) - FAULTS_SHOWN_MAX} more"))
        return WrongJobFile(faults, Text("\n").join(excerpts))


def read_job_file(path: Path) -> JobFile:
    """Read it. Raises WrongJobFile for what is not YAML or not a mapping, InvalidInput for what cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > FILE_MAX_BYTES:
        raise InvalidSpec(f"{path} has more than {FILE_MAX_BYTES // 1024} kB: that is no job")
    text = _text(path, content)
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        raise _syntax_error(path, text, error) from None
    except ReaderError as error:
        place = _place_of(text[: error.position])
        character = ord(text[error.position]) if error.position < len(text) else 0
        detail = f"the character U+{character:04X} is not possible in YAML; remove it"
        raise _wrong(path, text, place, FieldError("", detail, "character")) from None
    except RecursionError:
        raise InvalidSpec(f"{path} is nested too deeply: a job has a few levels") from None
    except (YAMLError, ValueError) as error:
        # A scalar that claims a type it has not.
        raise InvalidSpec(f"{path}: not YAML: {error}") from None
    whole = JobFile(path, text, tree, {})
    try:
        plain = _Plain().of(tree)
        if not isinstance(plain, dict):
            raise InvalidSpec(_NO_MAPPING)
    except InvalidSpec as error:
        raise whole.explained(error) from None
    return JobFile(path, text, tree, plain)


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_of(content[: error.start].decode("utf-8-sig", errors="replace"))
        where = f"{path}:{place.line + 1}:{place.column + 1}"
        raise InvalidSpec(f"{where}: this is not UTF-8", remedy="store the file as UTF-8") from None


def locate(tree: Any, fault: FieldError) -> Place:
    """Where a fault is: at its value, at its name where that is what is wrong, or at the nearest there is."""
    place, node = _start(tree), tree
    parts = [part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")[1:]]
    for number, part in enumerate(parts, start=1):
        last = number == len(parts)
        try:
            if isinstance(node, CommentedMap):
                key = next(key for key in node if str(key) == part)
                node, parent = node[key], node
                # Where nothing was written, ruamel's place is in the next line.
                about_the_name = last and (fault.code in _ABOUT_THE_NAME or node is None)
                line, column = parent.lc.key(key) if about_the_name else parent.lc.value(key)
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
    # One for one, so that the caret stays below its place and nothing steers the terminal.
    line = "".join(character if character.isprintable() else " " for character in line)
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


def _place_of(before: str) -> Place:
    """The place behind a text."""
    return Place(before.count("\n"), len(before) - before.rfind("\n") - 1)


def _wrong(path: Path, text: str, place: Place, fault: FieldError) -> WrongJobFile:
    return WrongJobFile((fault,), _excerpt(path, text.splitlines(), place, fault.detail))


def _syntax_error(path: Path, text: str, error: MarkedYAMLError) -> WrongJobFile:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line, mark.column) if mark is not None else Place(0, 0)
    detail = error.problem or error.context or "not YAML"
    begun = error.context_mark
    if error.context == "expected a single document in the stream":
        detail = "a job is one document; remove this and what follows"
    elif type(error).__name__ == "DuplicateKeyError":
        detail = str(error.problem).split(" with value")[0]
    elif "\t" in text.splitlines()[min(place.line, len(text.splitlines()) - 1)][: place.column + 1]:
        detail = f"{detail}: indent with spaces, not tabs"
    elif error.problem and error.context and begun is not None and begun.line != place.line:
        detail = f"{error.problem} ({error.context} that began in line {begun.line + 1})"
    return _wrong(path, text, place, FieldError("", detail))


class _Plain:
    """A tree without ruamel's own types, so that it can be checked and sent as JSON."""

    def __init__(self) -> None:
        self._values = 0

    def of(self, value: Any, place: tuple[int | str, ...] = ()) -> Any:
        """Raises InvalidSpec for what means nothing in a job, or far too much."""
        self._values += 1
        if self._values > VALUES_MAX:
            raise self._refusal((), f"this unfolds to more than {VALUES_MAX} values; write less aliases (`*name`)")
        if len(place) > DEPTH_MAX:
            raise self._refusal(place[:1], f"this is nested more than {DEPTH_MAX} levels deep")
        if isinstance(value, Mapping):
            return {
                str(key) if isinstance(key, str) else key: self.of(item, (*place, str(key)))
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.of(item, (*place, number)) for number, item in enumerate(value)]
        if isinstance(value, bool) or value is None:
            return value
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
        if isinstance(value, date):
            # Dates mean nothing in a job; as text they are refused where they stand.
            return str(value)
        raise self._refusal(place, "a tag (`!...`) means nothing in a job; write the plain value")

    @staticmethod
    def _refusal(place: tuple[int | str, ...], detail: str) -> InvalidSpec:
        return InvalidSpec(detail, errors=[FieldError(pointer_of(place), detail, "wrong_type")])
