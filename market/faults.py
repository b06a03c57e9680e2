"""What pydantic finds wrong with an input, in our words: a pointer, a code, how to mend it, what was probably meant."""

import difflib
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from market.errors import FieldError

ECHO_MAX_CHARACTERS = 60
KNOWN_SHOWN_MAX = 30
DETAIL_MAX_CHARACTERS = 500

_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "literal_error": "wrong_choice",
    "enum": "wrong_choice",
    "string_pattern_mismatch": "wrong_form",
    "string_unicode": "character",
    "invalid_key": "wrong_type",
}
_RANGES = ("greater_than", "less_than", "too_long", "too_short", "string_too", "finite_number", "int_parsing_size")
_TYPES = {
    "string_type": "text, in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
}
_NAMES = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", NoneType: "nothing"}


def pointer_of(location: Sequence[int | str]) -> str:
    """The RFC 6901 pointer of a place in plain data."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def faults_of(
    root: type[BaseModel] | None, errors: Sequence[ErrorDetails], also: Mapping[str, Collection[str]] | None = None
) -> Iterator[FieldError]:
    """pydantic's errors (with their input and context) as places in the data.

    root: the model that refused it, of which nearby names are proposed; also: further names by the pointer of the
    mapping they belong to.
    """
    for error in errors:
        location = [part for part in error["loc"] if part != "[key]"]
        about_name = error["loc"][-1:] == ("[key]",)
        yield _fault(root, error, location, also or {}, about_name=about_name)


def nearest(word: str, known: Collection[str]) -> str:
    """The known word that was probably meant, or nothing."""
    found = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1)
    return next((name for name in known if found and name.lower() == found[0]), "")


def unknown(name: str, known: Collection[str], also: Collection[str] = ()) -> tuple[str, str]:
    """(what to say of a name that is not known, the one that was probably meant). also: proposed, but not listed."""
    meant = nearest(name, [*known, *sorted(also)])
    listed = ", ".join(list(known)[:KNOWN_SHOWN_MAX]) or "nothing"
    return f"`{shown(name)}` is unknown; {f'did you mean `{meant}`?' if meant else f'known here: {listed}'}", meant


def shown(value: object) -> str:
    """A value of an input, short enough to say back."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= ECHO_MAX_CHARACTERS else f"{text[:ECHO_MAX_CHARACTERS]}…"


def _fault(
    root: type[BaseModel] | None,
    error: ErrorDetails,
    location: list[int | str],
    also: Mapping[str, Collection[str]],
    *,
    about_name: bool,
) -> FieldError:
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    pointer, code, meant = pointer_of(location), _code_of(kind), ""
    detail = error["msg"].removeprefix("Value error, ")
    if kind == "missing":
        detail = f"`{location[-1]}` is missing" if location else "the body is missing"
    elif kind == "extra_forbidden":
        inside = location[:-1]
        detail, meant = unknown(str(location[-1]), _fields_at(root, inside), also.get(pointer_of(inside), ()))
    elif kind in ("literal_error", "enum"):
        known = _choices(str(context.get("expected", "")))
        meant = nearest(given, known) if isinstance(given, str) else ""
        hint = f"did you mean `{meant}`?" if meant else f"choose one of: {', '.join(known)}"
        detail = f"`{shown(given)}` is not possible here; {hint}"
    elif kind in _TYPES:
        detail = f"{_said(given)} stands here; write {_TYPES[kind]}"
    elif kind == "string_unicode":
        detail = "it holds half of a character (a lone surrogate); remove it"
    elif kind == "invalid_key":
        detail = f"`{shown(location[-1] if location else '')}` is no name; write it in quotes"
    elif kind == "string_pattern_mismatch":
        detail = f"`{shown(given)}` is not of the form {context.get('pattern', '')}"
    elif code == "out_of_range":
        detail = f"{_range(detail)}"
    if about_name:
        code = "wrong_name"
    return FieldError(pointer, detail[:DETAIL_MAX_CHARACTERS], code, meant)


def _code_of(kind: str) -> str:
    if kind in _CODES:
        return _CODES[kind]
    if kind in _TYPES or kind.endswith("_type"):
        return "wrong_type"
    return "out_of_range" if kind.startswith(_RANGES) else "invalid"


def _range(message: str) -> str:
    """pydantic's "Input should be less than 5" and "String should have at most 5 characters", shorter."""
    for words in (
        "Input should be ",
        "Value should be ",
        "String should have ",
        "List should have ",
        "Dictionary should have ",
    ):
        if message.startswith(words):
            verb = "it must have" if "have" in words else "it must be"
            return f"{verb} {message.removeprefix(words).replace(' after validation', '')}"
    return message


def _said(given: object) -> str:
    """What somebody wrote, by its sort: `true` (true or false)."""
    if isinstance(given, Mapping):
        return "a mapping"
    sort = _NAMES.get(type(given), "something else")
    return sort if isinstance(given, list | NoneType) else f"`{shown(given)}` ({sort})"


def _choices(expected: str) -> list[str]:
    """Of pydantic's "'a', 'b' or 'c'"."""
    return [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(", ") if part.strip()]


def _fields_at(root: type[BaseModel] | None, location: Sequence[int | str]) -> list[str]:
    """The names that the model at that place knows, as they are written."""
    here: Any = root
    for part in location:
        here = _below(_plain(here), part)
    model = _plain(here)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _below(here: Any, part: int | str) -> Any:
    """The annotation of what stands at that part of a model, a list or a mapping."""
    if isinstance(here, type) and issubclass(here, BaseModel):
        return next((f.annotation for n, f in here.model_fields.items() if part in (n, f.alias)), None)
    inner = typing.get_args(here)
    return inner[-1] if inner and typing.get_origin(here) in (list, dict, tuple) else None


def _plain(annotation: Any) -> Any:
    """Without Annotated and None."""
    while True:
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            annotation = inner[0]
        elif origin in (UnionType, typing.Union):
            annotation = next((item for item in inner if item is not NoneType), None)
        else:
            return annotation
