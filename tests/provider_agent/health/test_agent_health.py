"""A running agent tells the market at once what is wrong with its node, and lives on whatever the driver does."""

import json
from collections.abc import Callable
from datetime import timedelta

from agent_process import AgentProcess, is_running
from fake_driver import FakeDriver, uuid_of
from far_side import FarSide

from market.health import HealthCode

NOT_LOADED = 9
HEARTBEAT_SECONDS = 10.0
"""How long a poll waits; the tests allow for a slow machine besides."""


def standing(far: FarSide) -> set[tuple[HealthCode, str | None]]:
    return {(one.code, one.gpu_uuid) for one in far.health[-1].conditions} if far.health else set()


def test_a_fault_is_told_within_a_heartbeat_and_so_is_its_end(
    far: FarSide, joined: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    agent = joined().start(**driver.environment)
    far.wait(lambda: far.health)
    assert far.health[0].conditions == []

    driver.say("1.rows_failed 1", "driver 470.1")
    expected = {(HealthCode.MEMORY_WORN_OUT, uuid_of(1))}
    far.wait(lambda: standing(far) == expected, HEARTBEAT_SECONDS + 20)
    driver.say()
    far.wait(lambda: standing(far) == set(), 60)
    assert is_running(agent.pid)


def test_a_driver_that_hangs_goes_away_and_comes_back_costs_its_gpus_and_not_the_agent(
    far: FarSide, joined: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    agent = joined().start(**driver.environment)
    far.wait(lambda: far.health and far.inventories)
    driver.say(f"fail.nvmlDeviceGetCount_v2 {NOT_LOADED}", f"fail.nvmlInitWithFlags {NOT_LOADED}")
    silent = {(HealthCode.DRIVER_SILENT, uuid_of(n)) for n in (0, 1)}
    far.wait(lambda: standing(far) == silent, 30)
    driver.say()
    far.wait(lambda: standing(far) == set(), 60)

    driver.say("1.fail.nvmlDeviceGetPowerUsage hang")
    far.wait(lambda: standing(far) == {(HealthCode.DRIVER_HUNG, uuid_of(n)) for n in (0, 1)}, 60)
    polls = len(far.polls)
    far.wait(lambda: len(far.polls) > polls)
    attempt_id = far.want("echo still here")
    assert far.exit_of(attempt_id).exit_code == 0
    assert agent.terminate() == 0, "nor does the thread that hangs keep the agent from ending"


def test_a_hardware_fault_outlives_the_agent_and_ends_with_a_reset_of_the_device(
    far: FarSide, joined: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    agent = joined().start(**driver.environment)
    far.wait(lambda: far.health)
    driver.say("event 1", "event.gpu 1", "event.xid 79", "*.energy 5000")
    xid = {(HealthCode.XID_HARDWARE, uuid_of(1))}
    far.wait(lambda: standing(far) == xid, 30)
    assert "Xid 79" in far.health[-1].conditions[0].detail
    agent.kill()
    kept = json.loads((agent.state / "health.json").read_text())
    assert [each["xid"] for each in kept] == [79]

    told = len(far.health)
    driver.say("*.energy 6000")
    agent.start(**driver.environment)
    far.wait(lambda: len(far.health) > told, 30)
    assert standing(far) == xid
    driver.say("*.energy 10")
    far.wait(lambda: standing(far) == set(), 30)


def test_a_portal_that_does_not_take_health_costs_nothing_else(
    far: FarSide, joined: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    far.fail(lambda _, path: path == "/agent/v1/health", times=1000, status=404)
    agent = joined().start(**driver.environment)
    attempt_id = far.want("echo hello")
    assert far.exit_of(attempt_id).exit_code == 0
    assert is_running(agent.pid)
    assert far.health == []


def test_a_clock_that_is_off_is_told_and_one_that_is_right_again_too(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    far.clock_ahead = timedelta(seconds=45)
    joined().start()
    far.wait(lambda: standing(far) == {(HealthCode.CLOCK_OFF, None)}, 30)
    far.clock_ahead = timedelta(0)
    far.wait(lambda: standing(far) == set(), 30)


def test_simulated_gpus_are_well(far: FarSide, joined: Callable[..., AgentProcess]) -> None:
    joined(simulate="H100:2").start()
    far.wait(lambda: far.health)
    assert far.health[-1].conditions == []
