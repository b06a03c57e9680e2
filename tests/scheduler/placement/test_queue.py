"""The queue's laws: shares are kept, nobody waits for ever, and what is held for a request is held."""

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_markets import gpu_offer, node, request

from market.resources import Unit
from scheduler.placement.decisions import Decision
from scheduler.placement.engine import Engine
from scheduler.placement.queue.lines import Lines
from scheduler.placement.queue.turns import HELD_PART, PATIENCE_SECONDS, Turns
from scheduler.placement.queue.waiting import Account, Amounts, Waiting
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Snapshot

ROUND_SECONDS = 60


def test_the_turn_is_that_of_the_least_share_whoever_came_first() -> None:
    heavy = [waiting(f"a{at}", "org_a", at) for at in range(8)]
    light = [waiting("b", "org_b", 100)]
    assert placed(heavy + light, gpus=3) == ["a0", "b", "a1"]


def test_who_holds_twice_as_much_waits_four_times_as_long() -> None:
    used = {"org_a": Amounts(8000), "org_b": Amounts(4000)}
    for waited, first in ((3 * PATIENCE_SECONDS - 1, "small"), (3 * PATIENCE_SECONDS + 1, "large")):
        queue = [waiting("large", "org_a", 0, gpus=4), waiting("small", "org_b", waited)]
        turns = Turns(Lines(queue), {}, used, Amounts(16_000), waited)
        assert next(iter(turns)).job_id == first


def test_a_wait_counts_for_nothing_against_who_holds_nothing_and_not_beyond_a_quota() -> None:
    old, new = waiting("old", "org_a", 0), waiting("new", "org_b", 10**6)
    for used, accounts in (
        ({"org_a": Amounts(1000)}, {}),
        ({"org_a": Amounts(1000), "org_b": Amounts(4000)}, {"org_b": Account(quota_gpus=5)}),
    ):
        turns = Turns(Lines([old, new]), accounts, used, Amounts(16_000), 10**6)
        assert next(iter(turns)).job_id == "new"


def test_a_weight_of_three_takes_three_turns_to_one() -> None:
    queue = [waiting(f"{org}{at}", f"org_{org}", at) for org in "ab" for at in range(20)]
    got = placed(queue, gpus=8, accounts={"org_a": Account(weight_milli=3000)})
    assert Counter(job[0] for job in got) == {"a": 6, "b": 2}


def test_what_stays_within_a_quota_comes_before_what_borrows_and_an_idle_quota_is_borrowed() -> None:
    accounts = {"org_a": Account(quota_gpus=3)}
    queue = [waiting(f"{org}{at}", f"org_{org}", at) for org in "ba" for at in range(9)]
    assert Counter(job[0] for job in placed(queue, gpus=4, accounts=accounts)) == {"a": 3, "b": 1}
    assert len(placed([one for one in queue if one.organization_id == "org_b"], gpus=4, accounts=accounts)) == 4


def test_nobody_holds_more_than_its_ceiling() -> None:
    turns = turns_of([waiting(f"a{at}", "org_a", at) for at in range(4)], 8, {"org_a": Account(ceiling_gpus=2)})
    assert len(Engine().choose(market(8), turns, "").decisions) == 2
    assert turns.ceilings == ["a2", "a3"]


def test_priority_goes_before_age_within_an_organization_and_not_beyond_it() -> None:
    queue = [waiting("a0", "org_a", 0), replace(waiting("a1", "org_a", 1), priority=9), waiting("b0", "org_b", 0)]
    assert placed(queue, gpus=2) == ["b0", "a1"]


def test_lost_nodes_work_goes_first_and_what_waits_for_a_price_last() -> None:
    queue = [
        replace(waiting("price", "org_a", 0), standing=True),
        waiting("usual", "org_b", 1),
        replace(waiting("lost", "org_c", 2), recovering=True),
    ]
    assert placed(queue, gpus=3) == ["lost", "usual", "price"]


def test_everybody_in_the_queue_is_told_once() -> None:
    queue = [waiting(f"a{at}", "org_a", at, gpus=1 + at % 3) for at in range(30)]
    choice = Engine().choose(market(4), turns_of(queue, 4), "")
    told = [one.request.job_id for one in (*choice.decisions, *choice.unplaced)]
    assert sorted(told) == sorted(one.request.job_id for one in queue)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(8, 40))
def test_shares_by_weight_differ_by_no_more_than_one_job(weights: list[int], gpus: int) -> None:
    """Everybody always has more to run: each gets its part, give or take one job."""
    accounts = {f"org_{at}": Account(weight_milli=1000 * weight) for at, weight in enumerate(weights)}
    queue = [waiting(f"{org}-{at:02}", org, at) for org in accounts for at in range(gpus)]
    got = Counter(job.split("-")[0] for job in placed(queue, gpus=gpus, accounts=accounts))
    assert sum(got.values()) == gpus
    for org, weight in zip(accounts, weights, strict=True):
        assert abs(got[org] - gpus * weight / sum(weights)) <= len(weights)
        assert all((got[other] - 1) / one.weight_milli <= got[org] / (1000 * weight) for other, one in accounts.items())


@dataclass
class Life:
    """A market in virtual time. runs: by job, for how many rounds; the queue does not know."""

    nodes: int
    gpus: int
    runs: dict[str, int]
    engine: Engine = field(default_factory=Engine)
    lines: Lines = field(default_factory=Lines)
    now: int = 0
    busy: list[tuple[int, Decision]] = field(default_factory=list)
    started: dict[str, int] = field(default_factory=dict)
    held: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    idle_held_max: int = 0

    def round(self, *coming: Waiting) -> None:
        """A minute passes, these come, and a round is held."""
        self.now += ROUND_SECONDS
        self.busy = [(ends, decision) for ends, decision in self.busy if ends > self.now]
        for one in coming:
            self.lines.put(replace(one, submitted_at=self.now))
        used: Counter[str] = Counter()
        for _, decision in self.busy:
            used[decision.request.job_id[0]] += 1000 * len(decision.gpus)
        amounts = {f"org_{org}": Amounts(milli) for org, milli in used.items()}
        turns = Turns(self.lines, {}, amounts, Amounts(1000 * self.nodes * self.gpus), self.now)
        for decision in self.engine.choose(self.snapshot, turns, str(self.now)).decisions:
            self.started[decision.request.job_id] = self.now
            self.busy.append((self.now + ROUND_SECONDS * self.runs[decision.request.job_id], decision))
        for job, nodes in turns.held.items():
            promised = max((ends for ends, one in self.busy if one.node.node_id in nodes), default=self.now)
            was = self.held.get(job)
            if was is None or was[1] != nodes:
                self.held[job] = promised, nodes

    @property
    def snapshot(self) -> Snapshot:
        taken = {(decision.node.node_id, gpu) for _, decision in self.busy for gpu in decision.gpus}
        return market(self.gpus, self.nodes, taken)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Life, list[list[Waiting]]]:
    """For a day, small jobs that come as fast as they end, and large ones among them."""
    life = Life(draw(st.integers(1, 3)), 4, {})
    coming: list[list[Waiting]] = []
    for turn in range(draw(st.integers(10, 40))):
        coming.append([])
        for at in range(draw(st.integers(0, 5))):
            job = f"{draw(st.sampled_from('abc'))}{turn:03}-{at}"
            life.runs[job] = draw(st.integers(1, 9))
            gpus = draw(st.sampled_from([1, 1, 1, 2, 4]))
            members = draw(st.integers(1, life.nodes)) if gpus == 4 else 1
            priority = draw(st.sampled_from([0, 0, 5]))
            one = waiting(job, f"org_{job[0]}", 0, gpus=gpus, members=members)
            coming[-1].append(replace(one, priority=priority))
    return life, coming


@settings(max_examples=60, deadline=None)
@given(lives())
def test_a_job_for_which_places_are_held_starts_once_what_ran_there_has_ended(
    drawn: tuple[Life, list[list[Waiting]]],
) -> None:
    """Backfill never delays it: whatever comes meanwhile, it has its nodes when they are done with what ran on them."""
    life, coming = drawn
    for jobs in coming:
        life.round(*jobs)
    while life.lines.of:
        life.round()
    for job, (promised, _) in life.held.items():
        assert life.started[job] <= promised + ROUND_SECONDS


@settings(max_examples=30, deadline=None)
@given(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 3))
def test_a_gang_starts_although_small_jobs_never_stop_coming(org: str, priority: int, members: int) -> None:
    life = Life(3, 4, {"aBIG": 1, "bBIG": 1})
    life.round(*(small(life, turn) for turn in range(12)))
    life.round(replace(waiting(f"{org}BIG", f"org_{org}", 0, gpus=4, members=members), priority=0))
    for turn in range(12, 300):
        life.round(*(replace(small(life, 4 * turn + at), priority=priority) for at in range(4)))
        if f"{org}BIG" in life.started:
            break
    longest = PATIENCE_SECONDS + 10 * ROUND_SECONDS
    assert life.started[f"{org}BIG"] <= longest + 3 * ROUND_SECONDS


@settings(max_examples=30, deadline=None)
@given(lives())
def test_the_same_queue_always_gives_the_same_choice(drawn: tuple[Life, list[list[Waiting]]]) -> None:
    life, coming = drawn
    jobs = [one for several in coming for one in several]
    choices = [
        [(one.request.job_id, one.gpus) for one in Engine().choose(life.snapshot, turns_of(some, 12), "s").decisions]
        for some in (jobs, jobs[::-1])
    ]
    assert choices[0] == choices[1]


def test_places_are_held_on_a_bounded_part_of_the_market() -> None:
    """Of many large ones that are due, the oldest get places held, one in any case."""
    queue = [replace(waiting(f"{at}", "org_a", at, gpus=4), passed_at=0, priority=at) for at in range(9)]
    for nodes in (2, 2 * HELD_PART):
        full = {(f"n{at}", 0) for at in range(nodes)}
        turns = Turns(Lines(queue), {}, {}, Amounts(4000 * nodes), PATIENCE_SECONDS, everyone=False)
        Engine().choose(market(4, nodes, full), turns, "")
        assert len(turns.held) == max(1, nodes // HELD_PART)
        assert list(turns.held) == [str(at) for at in range(len(turns.held))]
        nodes_held = [one for several in turns.held.values() for one in several]
        assert len(set(nodes_held)) == len(nodes_held)


def test_places_are_held_where_the_youngest_work_runs() -> None:
    """What has run for long mostly goes on for long."""
    big = replace(waiting("big", "org_a", 0, gpus=4), passed_at=0)
    full = {(f"n{at}", gpu) for at in range(3) for gpu in range(4)} - {("n0", 3)}
    now = 10 * PATIENCE_SECONDS
    running = {"n0": [(0, 3)], "n1": [(now - 60, 4)], "n2": [(now - 60, 2), (0, 2)]}
    turns = Turns(Lines([big]), {}, {}, Amounts(12_000), now, running=running)
    Engine().choose(market(4, 3, full), turns, "")
    assert turns.held == {"big": ("n1",)}


def test_what_is_held_is_given_to_nobody_else_and_given_up_once_the_node_is_gone() -> None:
    big = replace(waiting("big", "org_a", 0, gpus=4), held=("n0",), passed_at=0)
    one = waiting("one", "org_b", 1)
    full = {("n0", 0), *(("n1", gpu) for gpu in range(4))}
    turns = turns_of([big, one], 8)
    assert Engine().choose(market(4, 2, full), turns, "").decisions == []
    assert turns.held == {"big": ("n0",)}
    turns = Turns(Lines([big, one]), {}, {}, Amounts(4000), PATIENCE_SECONDS)
    gone = Snapshot(market(4, 2, full).nodes[1:], market(4, 2, full).offers)
    Engine().choose(gone, turns, "")
    assert turns.held == {"big": ("n1",)}


def waiting(job_id: str, organization_id: str, at: int, gpus: int = 1, members: int = 1) -> Waiting:
    asked: Request = request(job_id, gpus, cpu_milli=0, memory_bytes=0, disk_bytes=0, members=members)
    return Waiting(asked, organization_id, at)


def small(life: Life, at: int) -> Waiting:
    job = f"{'ab'[at % 2]}{at:05}"
    life.runs[job] = 1 + at % 9
    return waiting(job, f"org_{job[0]}", 0)


def market(gpus: int, nodes: int = 1, taken: set[tuple[str, int]] | None = None) -> Snapshot:
    offers = []
    for at in range(nodes):
        free = tuple(gpu for gpu in range(gpus) if (f"n{at}", gpu) not in (taken or set()))
        offers.append(replace(gpu_offer(f"n{at}", free), gpu_count=gpus))
    return Snapshot([node(f"n{at}") for at in range(nodes)], offers)


def turns_of(queue: list[Waiting], gpus: int, accounts: dict[str, Account] | None = None) -> Turns:
    return Turns(Lines(queue), accounts or {}, {}, Amounts(1000 * gpus), 0)


def placed(queue: list[Waiting], gpus: int, accounts: dict[str, Account] | None = None) -> list[str]:
    turns = turns_of(queue, gpus, accounts)
    return [one.request.job_id for one in Engine().choose(market(gpus), turns, "").decisions]


def test_what_cannot_be_held_for_takes_nobodys_place() -> None:
    """The one place that is kept for the oldest of all goes to who can use it."""
    big = replace(waiting("big", "org_b", 2, gpus=4), passed_at=0)
    without = replace(waiting("cpus", "org_a", 0), passed_at=0)
    without = replace(without, request=replace(without.request, gpu=None, unit=Unit.CPU, cpu_milli=999_000))
    barred = replace(waiting("barred", "org_c", 1, gpus=4), passed_at=0)
    full = {("n0", 0), ("n1", 0)}
    accounts = {"org_c": Account(ceiling_gpus=2)}
    turns = Turns(Lines([without, barred, big]), accounts, {}, Amounts(8_000), PATIENCE_SECONDS, everyone=False)
    Engine().choose(market(4, 2, full), turns, "")
    assert list(turns.held) == ["big"]
