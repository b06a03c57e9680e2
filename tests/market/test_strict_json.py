"""Every value comes through as it is; every other text is refused, and nothing else happens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidInput
from market.strict_json import DEPTH_MAX, NotJson, loads

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_json_is_read_as_it_is(value: Any, escaped: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary() | st.text().map(str.encode) | st.text('[]{},:"\\u0d8a1e-. NaInftyrsl').map(str.encode))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    try:
        loads(data)
    except (NotJson, InvalidInput) as refused:
        assert str(refused)


@given(TEXTS, VALUES, VALUES)
def test_a_key_stands_once(name: str, one: Any, two: Any) -> None:
    key = json.dumps(name)
    with pytest.raises(NotJson, match="twice"):
        loads(f'{{"x": [{{{key}: {json.dumps(one)}, {key}: {json.dumps(two)}}}]}}'.encode())


def test_the_depth_is_bounded_at_exactly_that_many_levels() -> None:
    assert loads(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    for levels in (DEPTH_MAX + 1, 900, 100_000):
        with pytest.raises(NotJson, match="levels deep"):
            loads(b'{"a":' * levels + b"1" + b"}" * levels)
    wide = json.dumps([[{}] for _ in range(1000)])
    assert len(loads(wide.encode())) == 1000


@pytest.mark.parametrize(
    ("text", "pointer"),
    [('{"a": ["x", "\\u0000"]}', "/a/1"), ('{"a/b": {"c": "\\ud800"}}', "/a~1b/c"), ('"\\udfff\\ud83d"', "")],
)
def test_what_cannot_be_stored_has_a_place(text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        loads(text.encode())
    assert [(fault.pointer, fault.code) for fault in refused.value.errors] == [(pointer, "character")]
    assert loads(b'"\\ud83d\\ude00 \\\\u0000"') == "\U0001f600 \\u0000"
