"""The platform's key: what is sealed opens only for its owner, and only unchanged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.secrets import SecretBox
from market.errors import InvalidInput

BOX = SecretBox(b"\x01" * 32)


@given(st.text(max_size=200), st.text(max_size=40))
def test_what_is_sealed_opens_again_and_shows_nothing(plaintext: str, context: str) -> None:
    sealed = BOX.seal(plaintext, context)
    assert BOX.open(sealed, context) == plaintext
    assert len(plaintext) < 8 or plaintext.encode() not in sealed


@given(st.binary(min_size=1, max_size=40), st.integers(min_value=0))
def test_a_changed_or_borrowed_secret_is_refused(flip: bytes, at: int) -> None:
    sealed = bytearray(BOX.seal("hf_token", "org_a/HF"))
    sealed[at % len(sealed)] ^= flip[0] or 1
    for value, context in ((bytes(sealed), "org_a/HF"), (BOX.seal("hf_token", "org_a/HF"), "org_b/HF")):
        with pytest.raises(ValueError, match="another"):
            BOX.open(value, context)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SecretBox.generate_key())
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="read by others"):
        SecretBox.from_file(file)
    file.chmod(0o600)
    assert SecretBox.from_file(file).open(SecretBox.from_file(file).seal("x", "y"), "y") == "x"


@pytest.mark.parametrize("content", [None, "", "ab", "no digits at all"])
def test_what_is_no_key_file_is_said_with_how_to_make_one(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
        file.chmod(0o600)
    with pytest.raises(InvalidInput) as refused:
        SecretBox.from_file(file)
    assert str(file) in refused.value.detail
    assert "openssl" in refused.value.remedy
