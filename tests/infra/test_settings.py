"""Settings that cannot be meant are refused by the name of their variable, without their value."""

import pytest

from infra.settings import Settings, settings
from market.errors import InvalidInput


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GRIDBAY_WORKER_CONCURRENCY", "many", "valid integer"),
        ("GRIDBAY_WORKER_CONCURRENCY", "0", "greater than or equal to 1"),
        ("GRIDBAY_DATABASE_URL", "secret-password", "no URL of a database"),
        ("GRIDBAY_PROOF_SHADOW", "rows,colours", "'rows', 'timing'"),
        ("GRIDBAY_KEY_PREFIX", "Grid Bay", "pattern"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as refused:
        settings.__wrapped__()
    assert variable in refused.value.detail
    assert words in refused.value.detail
    assert value not in refused.value.detail.replace(words, "")


def test_a_minimum_charge_is_within_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDBAY_WINDOW_SECONDS", "300")
    monkeypatch.setenv("GRIDBAY_MINIMUM_SECONDS", "301")
    with pytest.raises(InvalidInput, match=r"GRIDBAY_MINIMUM_SECONDS.* window of 300 s"):
        settings.__wrapped__()


def test_a_database_may_be_named_as_everybody_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDBAY_DATABASE_URL", "postgresql://me@host/name")
    assert settings.__wrapped__().database_url.get_secret_value() == "postgresql+psycopg://me@host/name"


def test_the_defaults_are_settings() -> None:
    assert Settings(_env_file=None).key("a", "b") == "gridbay:a:b"
