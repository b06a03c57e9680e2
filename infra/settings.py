"""Every setting of the control plane, in one place; each is an environment variable with the prefix GRIDBAY_."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from market.errors import FieldError, InvalidInput


class Settings(BaseSettings):
    """Engines by URL, and the market's numbers. Times are in seconds unless the name says otherwise.

    metrics_bind: host:port where a process but the api answers Prometheus; None: nowhere. proofs: whether
    devices are challenged; proof_shadow: the checks that only look on; proof_verify_seconds: CPU time of one run.
    """

    model_config = SettingsConfigDict(env_prefix="GRIDBAY_", extra="ignore", frozen=True)

    embedded: bool = False
    state_dir: Path | None = None

    database_url: SecretStr = SecretStr("postgresql+psycopg://127.0.0.1/gridbay")
    database_pool_size: int = Field(default=6, ge=1, le=100)
    """The most connections of a process that write; it has as many that only read."""
    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    usage_bus_url: SecretStr = SecretStr("redis://127.0.0.1:6379/1")
    cache_url: SecretStr = SecretStr("redis://127.0.0.1:6379/2")
    key_prefix: str = Field(default="gridbay", pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    storage_url: str = "file:///var/lib/gridbay/storage"
    storage_public_url: str = "http://127.0.0.1:8081"
    solana_rpc_urls: Annotated[list[str], NoDecode] = ["http://127.0.0.1:8899"]
    usdc_mint: str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v"
    treasury_keypair: Path | None = None
    treasury_address: str | None = None
    """The treasury's, for processes that sign nothing and are not given its key: all but workers."""
    secret_key_file: Path | None = None
    public_url: str = "http://127.0.0.1:8080"
    bind: str = "127.0.0.1:8080"

    long_poll_seconds: float = 10
    silent_after_seconds: float = 30
    window_seconds: int = Field(default=900, ge=1)
    stop_grace_seconds: int = 20
    lease_margin_seconds: int = 10
    placement_round_max: int = 2000
    lost_brake_share: float = Field(default=0.5, gt=0, le=1)
    final_reading_wait_seconds: int = 60
    epoch_seconds: int = 3600
    low_balance_microusd: int = Field(default=1_000_000, ge=0)
    forecast_hours: int = Field(default=24, ge=0, le=8784)
    fee_basis_points: int = Field(default=500, ge=0, le=10_000)
    minimum_seconds: int = Field(default=0, ge=0, le=600)
    payout_min_microusd: int = Field(default=10_000, ge=1)
    payout_daily_max_microusd: int = Field(default=50_000_000_000, ge=1)
    payout_provider_daily_max_microusd: int = Field(default=10_000_000_000, ge=1)
    payout_organization_daily_max_microusd: int = Field(default=10_000_000_000, ge=1)
    allowance_pull_min_microusd: int = Field(default=100_000, ge=1)
    allowance_pull_max_microusd: int = Field(default=100_000_000, ge=1)
    allowance_daily_max_microusd: int = Field(default=10_000_000_000, ge=1)
    payout_hold_seconds: int = Field(default=86_400, ge=0)
    wallet_cooldown_seconds: int = Field(default=86_400, ge=0)
    token_account_rent_microusd: int = Field(default=400_000, ge=0)
    priority_fee_lamports_min: int = Field(default=1_000, ge=0)
    priority_fee_lamports_max: int = Field(default=10_000, ge=0)
    proofs: bool = True
    proof_shadow: Annotated[list[Literal["rows", "timing", "memory", "memory_time"]], NoDecode] = ["memory_time"]
    proof_verify_seconds: float = Field(default=5, gt=0, le=15)
    signed_url_seconds: int = 3600
    worker_pool: Literal["prefork", "threads"] = "prefork"
    worker_concurrency: int = Field(default=2, ge=1, le=64)
    log_level: str = "INFO"
    metrics_bind: str | None = None

    def key(self, *parts: str) -> str:
        """A key on a Redis or Valkey that may be shared: `gridbay:wake:scheduler.place`."""
        return ":".join((self.key_prefix, *parts))

    @field_validator("solana_rpc_urls", "proof_shadow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [url.strip() for url in value.split(",") if url.strip()] if isinstance(value, str) else value

    @field_validator("minimum_seconds")
    @classmethod
    def _covered(cls, value: int, info: ValidationInfo) -> int:
        """The first window's hold covers the minimum charge."""
        window = info.data.get("window_seconds", value)
        if value > window:
            raise ValueError(f"it is more than a window of {window} s, whose hold is to cover it")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        scheme, _, place = value.get_secret_value().partition("://")
        if scheme not in ("postgresql", "postgresql+psycopg") or not place:
            raise ValueError("this is no URL of a database; it looks like postgresql://user@host/name")
        return SecretStr(f"postgresql+psycopg://{place}")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read from the environment once. Raises InvalidInput."""
    try:
        return Settings()
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> InvalidInput:
    """What is wrong with which variable; never its value, which may be a password."""
    faults = [
        FieldError("", fault["msg"].removeprefix("Value error, "), parameter=f"GRIDBAY_{fault['loc'][0]}".upper())
        for fault in error.errors(include_url=False, include_input=False)
    ]
    words = "; ".join(f"{fault.parameter}: {fault.detail}" for fault in faults)
    return InvalidInput(words, remedy="set it otherwise, or leave it out for the default", errors=faults)
