"""A process that signs is given the treasury's key, every other its address alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from billing.chains.keypairs import ensure_keypair
from billing.treasury import custody
from infra.settings import settings
from market.errors import Unavailable


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GRIDBAY_TREASURY_KEYPAIR", "GRIDBAY_TREASURY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    caches = (settings, custody.custody)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keypair:
    path = tmp_path / "treasury.json"
    made = ensure_keypair(path)
    monkeypatch.setenv("GRIDBAY_TREASURY_KEYPAIR", str(path))
    return made


def test_with_the_key_it_signs(key: Keypair) -> None:
    assert custody.signs()
    assert custody.custody().signer == key
    assert custody.custody().address == str(key.pubkey())


def test_with_the_address_alone_it_holds_and_does_not_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(Keypair().pubkey())
    monkeypatch.setenv("GRIDBAY_TREASURY_ADDRESS", address)
    assert custody.has_treasury() and not custody.signs()
    assert custody.custody().address == address
    with pytest.raises(Unavailable, match="signs nothing"):
        _ = custody.custody().signer


def test_two_treasuries_are_none(key: Keypair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDBAY_TREASURY_ADDRESS", str(Keypair().pubkey()))
    with pytest.raises(Unavailable, match=f"is the key of {key.pubkey()}"):
        custody.custody()


def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDBAY_TREASURY_ADDRESS", "nowhere")
    with pytest.raises(Unavailable, match="no address of the chain"):
        custody.custody()


def test_without_either_there_is_none() -> None:
    assert not custody.has_treasury()
    with pytest.raises(Unavailable, match="no treasury"):
        custody.custody()
