"""JSON as RFC 8259 means it: UTF-8, each key once, finite numbers, bounded depth, no text that no table can hold."""

import json
import math
import re
from collections import Counter
from typing import Any

from market.errors import FieldError, InvalidInput
from market.faults import pointer_of, shown

DEPTH_MAX = 64
_NOT_STORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""How NUL and halves of surrogate pairs are written; only where these stand is the data looked through."""


class NotJson(ValueError):
    """What is wrong, with line and column where they are known."""


def loads(data: bytes) -> Any:
    """The value. Raises NotJson, or InvalidInput with a pointer for a character that cannot be stored."""
    try:
        text = data.decode()
        value = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise NotJson(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise NotJson(f"it is nested more than {DEPTH_MAX} levels deep") from None
    except NotJson:
        raise
    except ValueError:
        # Python reads no integer of more than 4,300 digits.
        raise NotJson("a number has too many digits") from None
    if text.count("[") + text.count("{") > DEPTH_MAX and _too_deep(value):
        raise NotJson(f"it is nested more than {DEPTH_MAX} levels deep")
    if _NOT_STORABLE.search(text):
        _require_storable(value)
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise NotJson(f"the key `{shown(twice)}` stands twice in one object")
    return value


def _no_constant(word: str) -> float:
    raise NotJson(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise NotJson(f"the number {shown(word)} is too large")
    return value


def _too_deep(value: Any) -> bool:
    """Level by level, so that no depth is too much for this either."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        nested = [item for item in level if isinstance(item, dict | list)]
        if not nested:
            return False
        level = [inner for item in nested for inner in (item.values() if isinstance(item, dict) else item)]
    return True


def _require_storable(value: Any) -> None:
    """Looks at every text, key or value; the data is not deeper than DEPTH_MAX."""
    faults = [_unstorable(place) for place, text in _texts(value, ()) if not _is_storable(text)]
    if faults:
        raise InvalidInput(f"{faults[0].pointer or 'the body'}: {faults[0].detail}", errors=faults)


def _texts(value: Any, place: tuple[int | str, ...]) -> Any:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*place, number))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield place, name
            yield from _texts(item, (*place, name))


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _unstorable(place: tuple[int | str, ...]) -> FieldError:
    inside = [part if isinstance(part, int) or _is_storable(part) else "?" for part in place]
    return FieldError(
        pointer_of(inside), "it holds a character that cannot be stored (NUL or half of a pair); remove it", "character"
    )
