"""The whole line on a whole market, typed as a user types it: submit, run, bill, settle, verify; kills in between."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from awaiting import until

from gridbay.cli.embedded import running_market
from gridbay.client import Gridbay
from gridbay.standalone.background import RunningMarket, start_in_background
from market.customer_api import JobView
from market.money import format_usdc

pytestmark = [pytest.mark.market, pytest.mark.timeout(240)]
GRIDBAY = (sys.executable, "-P", "-m", "gridbay.cli.main")


class Market:
    """A market in the background, and its command line."""

    def __init__(self) -> None:
        self.running: RunningMarket | None = None

    def start(self) -> None:
        self.running = start_in_background()
        self.running.wait_ready(120)

    @property
    def state(self) -> Path:
        assert self.running is not None
        return self.running.state_dir

    def type(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What a user types after `gridbay`; the market of this machine is found by itself."""
        command = [*GRIDBAY, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def sdk(self) -> Gridbay:
        found = running_market()
        assert found is not None
        return Gridbay(found.account.url, found.account.customer or "")

    def processes(self, mark: str) -> list[psutil.Process]:
        assert self.running is not None
        tree = psutil.Process(self.running.pid).children(recursive=True)
        return [process for process in tree if mark in " ".join(_command(process))]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    made = Market()
    with pytest.MonkeyPatch.context() as environment:
        # A home of its own: no login and no state of whoever runs the tests.
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            environment.setenv(name, str(tmp_path_factory.mktemp("home")))
        environment.setenv("NO_COLOR", "1")
        environment.setenv("COLUMNS", "160")
        made.start()
        assert made.running is not None
        try:
            made.type("deposit", "5")
            with made.sdk() as sdk:
                until(lambda: sdk.offers() != [], "an offer")
            yield made
        finally:
            made.running.stop()


def test_a_job_runs_and_its_receipt_verifies_against_the_chain(market: Market, tmp_path: Path) -> None:
    done = market.type(
        "run", "-y", "--no-workdir", "--cpu", "1", "--", "echo hello from the sandbox; echo $((6*7)) > answer.txt"
    )
    assert "hello from the sandbox" in done.stdout
    with market.sdk() as sdk:
        job = next(iter(sdk.jobs()))
        assert (job.state, job.exit_code, job.billed) == ("succeeded", 0, True)
    market.type("admin", "settle")
    receipt = tmp_path / "receipt.json"
    market.type("receipt", "get", job.job_id, "-o", str(receipt))
    found = running_market()
    assert found is not None
    assert "verified" in market.type("receipt", "verify", str(receipt), "--rpc", found.rpc_url).stdout
    document = json.loads(receipt.read_text())
    document["lines"][0]["line"]["amount_microusd"] += 1
    receipt.write_text(json.dumps(document))
    assert market.type("receipt", "verify", str(receipt), check=False).returncode == 1


def test_what_is_not_used_goes_back_to_the_wallet_it_came_from(market: Market) -> None:
    with market.sdk() as sdk:
        until(lambda: sdk.balance().held.microusd == 0, "what was held for the job before is back")
        before = sdk.balance()
        said = market.type("withdraw", "0.5").stdout
        assert "0.50 USDC are sent to" in said
        (sent,) = sdk.withdrawals()
        assert sent.signature is not None and sent.signature in said
        assert sdk.balance().available.microusd == before.available.microusd - 500_000
    assert "confirmed" in market.type("withdrawals", "show", sent.withdrawal_id).stdout
    refused = market.type("withdrawals", "cancel", sent.withdrawal_id, check=False)
    assert refused.returncode == 1 and "on its way" in refused.stderr
    assert "custody is what the ledger says" in market.type("admin", "reconcile").stdout
    assert market.type("withdraw", "4000", check=False).returncode == 1


def test_what_is_short_is_pulled_from_the_customers_own_account(market: Market) -> None:
    with market.sdk() as sdk:
        keep = sdk.balance().available.microusd + 250_000
        said = market.type("allowance", "approve", "3", "--keep", format_usdc(keep)).stdout
        assert "active" in said and "3.00 USDC, as of" in said
        until(lambda: sdk.balance().available.microusd >= keep, "what is short is pulled")
        # What the jobs before held may have come back meanwhile.
        (pull,) = sdk.pulls()
        assert 0 < pull.amount.microusd <= 250_000
    assert "custody is what the ledger says" in market.type("admin", "reconcile").stdout
    assert "revoked on the chain" in market.type("allowance", "revoke").stdout
    assert market.type("allowance", "show", check=False).returncode == 1


def test_the_exit_code_is_the_jobs(market: Market) -> None:
    assert (
        market.type("run", "-y", "--no-workdir", "--cpu", "1", "--", "echo last words; exit 7", check=False).returncode
        == 7
    )


def test_a_stopped_job_pays_for_what_it_used(market: Market) -> None:
    with market.sdk() as sdk:
        job = _running(sdk, "sleep 600")
        market.type("stop", job.job_id)
        ended = sdk.wait(job.job_id, timeout_seconds=60)
        assert (ended.state, ended.reason) == ("stopped", "stopped:by_user")
        cost = sdk.cost(job.job_id)
        assert cost.held.microusd == 0
        assert sum(line.run_ms for line in cost.lines) < 60_000


def test_a_job_sees_neither_the_host_nor_the_platform(market: Market) -> None:
    probe = f"cat {market.state}/credentials.json; env; id -u; ls /root; cat /proc/1/environ | tr '\\0' '\\n'"
    with market.sdk() as sdk:
        job = sdk.submit({"run": probe, "max_duration": "5m"})
        text = "".join(piece.text for piece in sdk.logs(job.job_id))
    tokens = json.loads((market.state / "credentials.json").read_text())
    secrets = [tokens["customer_token"], tokens["operator_token"], (market.state / "secret.key").read_text().strip()]
    assert not any(secret in text for secret in secrets)
    assert "RAY_" not in text
    assert "postgres" not in text


def test_a_simulated_gpu_is_only_for_who_asks_for_it(market: Market) -> None:
    refused = market.type("run", "-y", "--no-workdir", "--gpu", "H100", "--", "true", check=False)
    assert refused.returncode == 1
    assert "no_offer" in refused.stderr or "offer" in refused.stderr


@pytest.mark.parametrize(
    "mark",
    [
        *("provider run", "ray::Runner", "ray/raylet/raylet", "gcs_server"),
        *("process worker", "process relay", "process api"),
    ],
)
def test_whatever_is_killed_the_job_runs_on_and_is_billed_once(market: Market, mark: str) -> None:
    with market.sdk() as sdk:
        job = _running(sdk, "for i in $(seq 60); do echo step $i; sleep 0.1; done")
        for process in market.processes(mark):
            process.send_signal(signal.SIGKILL)
        ended = sdk.wait(job.job_id, timeout_seconds=90)
        text = "".join(piece.text for piece in sdk.logs(job.job_id))
        assert (ended.state, len(ended.attempts)) == ("succeeded", 1)
        assert text == "".join(f"step {number}\n" for number in range(1, 61))
        assert [line.window_number for line in sdk.cost(job.job_id).lines] == [0]
    until(lambda: market.processes(mark), "its process")


def test_a_killed_market_continues_from_its_state(market: Market) -> None:
    with market.sdk() as sdk:
        before = sdk.balance().available.microusd + sdk.balance().held.microusd
        job = _running(sdk, "sleep 2; echo done")
    assert market.running is not None
    inner = psutil.Process(market.running.pid).children(recursive=True)
    os.kill(market.running.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(inner, timeout=20)
    assert alive == []
    market.running.stop()
    market.start()
    with market.sdk() as sdk:
        ended = sdk.wait(job.job_id, timeout_seconds=120)
        assert ended.state == "succeeded"
        assert "done\n" in "".join(piece.text for piece in sdk.logs(job.job_id))
        spent = sdk.cost(job.job_id).total.microusd
        until(lambda: sdk.balance().available.microusd == before - spent, "the bill", 30)


def _running(sdk: Gridbay, command: str) -> JobView:
    job = sdk.submit({"run": command, "max_duration": "10m"})
    until(lambda: sdk.job(job.job_id).state == "running", "a job that runs")
    return job


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
