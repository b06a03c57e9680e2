"""`gridbay run` shows the plan, asks, follows the job live, and ends as the job did."""

import json
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from served_market import Answer, Seen, ServedMarket, event, problem
from typed_command import Ended, Gridbay
from views import JOB_ID, attempt, cpu_offer, ended_job, job, offer, plan

from market.components import ComponentPrices
from market.customer_api import ComponentPricesView, JobView, LogLine, Money, OutputView, WorkdirAnswer
from market.states import JobState, Reason

LOG = b"epoch 1\nepoch 2\n"


class RunningJob:
    """One job of a served market: it is submitted, runs, logs, and ends as it was told to."""

    def __init__(self, market: ServedMarket, end: JobView, log: bytes = LOG) -> None:
        self.submitted: list[dict[str, object]] = []
        self.archives: list[bytes] = []
        self._end, self._log = end, log
        market.on("POST /v1/jobs/plan", plan())
        market.on("POST /v1/jobs", self._submit)
        market.on(
            "POST /v1/workdirs",
            lambda seen: Answer(WorkdirAnswer(sha256=seen.json()["sha256"], upload_url=f"{market.url}/storage/x")),
        )
        market.on("PUT /storage/{}", self._store)
        market.on("GET /v1/jobs/{}/events", lambda _: Answer(events=self._states()))
        market.on("GET /v1/jobs/{}/logs", lambda _: Answer(events=self._lines()))

    def _submit(self, seen: Seen) -> Answer:
        self.submitted.append(seen.json())
        return Answer(job(), 201)

    def _store(self, seen: Seen) -> Answer:
        self.archives.append(seen.body)
        return Answer()

    def _states(self) -> Iterator[bytes]:
        placed = job(JobState.PLACED, Reason.PLACED, attempts=[attempt()], version=2)
        running = job(JobState.RUNNING, Reason.RUNNING, attempts=[attempt()], version=3)
        for view in (job(), placed, running, self._end):
            yield event("job", view)

    def _lines(self) -> Iterator[bytes]:
        line = LogLine(attempt_number=1, offset=0, text=self._log.decode())
        yield event("log", line, f"1:{len(self._log)}")
        yield event("end", self._end)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with something to send."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "train.py").write_text("print('hi')\n")
    monkeypatch.chdir(here)
    return here


def test_a_job_is_followed_to_its_end(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    (folder / "job.yaml").write_text("name: digits\nrun: python train.py\nworkdir: .\n")
    ran = RunningJob(logged_in, ended_job())
    ended = gridbay("run", "job.yaml", "-y")
    assert (ended.code, ended.out) == (0, LOG.decode()), "the log alone is on stdout"
    states = [line for line in ended.err.splitlines() if line.split(" ")[0] in set(JobState)]
    assert states == [
        "queued    waits for free capacity",
        "placed    on amber at 0.02 USDC a CPU-hour",
        "running   on amber at 0.02 USDC a CPU-hour",
        "succeeded ",
    ]
    assert "highest cost  0.003334 USDC (0.003334 held at first)" in ended.err
    assert "ran 7s on amber · cost 0.000042 USDC" in ended.err
    (submitted,) = ran.submitted
    assert submitted["spec"] == {"name": "digits", "run": "python train.py", "workdir": "."}
    with tarfile.open(fileobj=BytesIO(ran.archives[0])) as sent:
        assert sent.getnames() == ["job.yaml", "train.py"]


def test_a_plan_tells_the_price_all_in_and_the_units_own(
    logged_in: ServedMarket, gridbay: Gridbay, folder: Path
) -> None:
    RunningJob(logged_in, ended_job())
    beside = ComponentPricesView.of(ComponentPrices(memory_microusd_per_gib_hour=1_250))
    asked = cpu_offer(price_per_unit_hour=Money.of(22_500), unit_price_per_hour=Money.of(20_000), components=beside)
    logged_in.on("POST /v1/jobs/plan", plan(offers=[asked]))
    told = gridbay("run", "--dry-run", "--", "true").err
    for words in ("USDC/h", "UNIT/h", "RAM GiB/h", "0.0225", "0.02", "0.00125"):
        assert words in told
    assert "DISK" not in told
    logged_in.on("POST /v1/jobs/plan", plan())
    assert "UNIT/h" not in gridbay("run", "--dry-run", "--", "true").err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (ended_job(3), 3),
        (ended_job(None, state=JobState.FAILED, reason=Reason.FAILED_START, attempts=[]), 1),
        (ended_job(143, state=JobState.STOPPED, reason=Reason.STOPPED_BY_USER), 143),
        (ended_job(None, state=JobState.STOPPED, reason=Reason.STOPPED_BALANCE_EXHAUSTED), 1),
    ],
)
def test_it_ends_with_the_jobs_own_exit_code(
    logged_in: ServedMarket, gridbay: Gridbay, folder: Path, end: JobView, code: int
) -> None:
    RunningJob(logged_in, end)
    assert gridbay("run", "-y", "--no-workdir", "--", "false").code == code


def test_a_command_takes_the_current_folder_with_it(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    ran = RunningJob(logged_in, ended_job())
    options = ("--gpu", "24GB..", "--max-total", "2", "--env", "A=b=c", "--keep", "out.txt", "--max-duration", "15m")
    gridbay("run", "-y", *options, "--", "python", "train.py", "--rate", "0.1 x")
    assert ran.submitted[0]["spec"] == {
        "run": "python train.py --rate '0.1 x'",
        "resources": {"gpu": "24GB.."},
        "budget": {"max_total": "2"},
        "env": {"A": "b=c"},
        "outputs": ["out.txt"],
        "max_duration": "15m",
        "workdir": ".",
    }


def test_a_home_is_not_sent_by_accident(
    logged_in: ServedMarket, gridbay: Gridbay, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    monkeypatch.chdir(home)
    ended = gridbay("run", "-y", "--", "true")
    assert (ended.code, logged_in.seen) == (2, [])
    assert "--no-workdir" in ended.err


def test_options_stand_above_the_file(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    (folder / "job.yaml").write_text("run: a\nresources: {cpu: 1, memory: 1GB}\nenv: {A: 1, B: 2}\n")
    ran = RunningJob(logged_in, ended_job())
    gridbay("run", "job.yaml", "-y", "--cpu", "2", "-e", "B=3", "--", "b")
    assert ran.submitted[0]["spec"] == {
        "run": "b",
        "resources": {"cpu": "2", "memory": "1GB"},
        "env": {"A": 1, "B": "3"},
    }


def test_a_wrong_option_is_named(gridbay: Gridbay, folder: Path) -> None:
    ended = gridbay("run", "--gpu", "0.5", "--max-duration", "soon", "--", "true")
    assert ended.code == 2
    assert "--gpu: '0.5': shares of a GPU are not available yet; ask for whole ones" in ended.err
    assert "--max-duration: 'soon' is not a duration" in ended.err
    (folder / "job.yaml").write_text("run: a\n")
    assert "--cpu: 'x' is not a number of CPUs" in gridbay("run", "job.yaml", "--cpu", "x").err


def test_without_a_terminal_only_y_spends(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    ran = RunningJob(logged_in, ended_job())
    ended = gridbay("run", "--no-workdir", "--", "true")
    assert (ended.code, ran.submitted) == (2, [])
    assert "say -y to go ahead" in ended.err


def test_a_dry_run_sends_and_spends_nothing(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    ran = RunningJob(logged_in, ended_job())
    logged_in.on("POST /v1/jobs/plan", plan(offers=[offer(simulated=True)], offer_count=7, explanation="it may wait"))
    ended = gridbay("run", "--dry-run", "--", "true")
    assert (ended.code, ended.out) == (0, "dry run: nothing was sent or charged\n")
    assert (ran.submitted, ran.archives) == ([], [])
    for words in ("1 file, 12 B", "NVIDIA H100 80GB HBM3 (simulated)", "and 6 more", "it may wait"):
        assert words in ended.err
    assert json.loads(gridbay("run", "--dry-run", "-o", "json", "--", "true").out)["offer_count"] == 7


def test_detached_it_only_says_where_to_look(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    RunningJob(logged_in, ended_job(3))
    ended = gridbay("run", "-y", "--detach", "--no-workdir", "--", "true")
    assert (ended.code, ended.out.splitlines()[0]) == (0, f"{JOB_ID} is submitted")
    assert gridbay("run", "-y", "-d", "-o", "quiet", "--no-workdir", "--", "true").out == f"{JOB_ID}\n"


def test_json_has_stdout_for_itself(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    RunningJob(logged_in, ended_job(3))
    ended = gridbay("run", "-y", "-o", "json", "--no-workdir", "--", "true")
    assert (json.loads(ended.out)["exit_code"], ended.code) == (3, 3)
    assert LOG.decode() in ended.err


def test_outputs_are_fetched(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    RunningJob(logged_in, ended_job())
    digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    output = OutputView(path="sub/out.txt", size_bytes=3, sha256=digest, url=f"{logged_in.url}/storage/x")
    logged_in.on("GET /v1/jobs/{}/outputs", Answer([output]))
    logged_in.on("GET /storage/{}", Answer(b"foo"))
    ended = gridbay("run", "-y", "--no-workdir", "--output-dir", folder / "out", "--", "true")
    assert ended.code == 0
    assert (folder / "out" / "sub" / "out.txt").read_text() == "foo"


def test_a_refusal_is_words_not_a_traceback(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    RunningJob(logged_in, ended_job())
    logged_in.on(
        "POST /v1/jobs", problem(402, "insufficient_funds", "2.00 USDC are needed", remedy="gridbay deposit 2")
    )
    ended = gridbay("run", "-y", "--no-workdir", "--", "true")
    assert ended.code == 1
    assert ended.err.splitlines()[-3:] == [
        "refused: 2.00 USDC are needed",
        "  mend: gridbay deposit 2",
        "  code: insufficient_funds",
    ]


def test_a_market_that_goes_away_leaves_the_job_alone(logged_in: ServedMarket, gridbay: Gridbay, folder: Path) -> None:
    RunningJob(logged_in, ended_job())
    logged_in.on("GET /v1/jobs/{}/events", problem(404, "not_found", "there is no such job here"))
    logged_in.on("GET /v1/jobs/{}/logs", Answer(events=[]))
    ended: Ended = gridbay("run", "-y", "--no-workdir", "--", "true")
    assert ended.code == 1
    assert f"no longer watched, but {JOB_ID} goes on: gridbay logs -f {JOB_ID}" in ended.err
