"""The spool's law: killed, torn, resent or trimmed, every reading reaches billing, in one unbroken chain."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.readings import GENESIS, Reading
from provider_agent import spool as spools
from provider_agent import stream as streams
from provider_agent.spool import Spool
from provider_agent.stream import Stream, Usage


def append(stream: Stream, run_ms: int, *, final: bool = False) -> Reading:
    return stream.append(Usage(run_ms=run_ms), final=final, taken_at_ms=0)


def begin(spool: Spool, name: str = "a") -> Stream:
    return spool.begin(lease_id=f"lease_{name}", attempt_id=f"att_{name}", base=Usage())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2000)),
        st.tuples(st.just("report"), st.integers(1, 5)),
        st.tuples(st.just("lose"), st.integers(1, 5)),
        st.tuples(st.just("restart"), st.integers(0, 300)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, trim_bytes=st.sampled_from([0, 700, 10**6]))
def test_every_reading_arrives_and_the_chain_never_breaks(steps: list[tuple[str, int]], trim_bytes: int) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "TRIM_BYTES", trim_bytes)
        folder = Path(name)
        spool = Spool(folder)
        stream = begin(spool)
        billed: dict[int, Reading] = {}
        taken: list[Reading] = []
        run_ms = 0
        for step, amount in steps:
            if step == "append":
                run_ms += amount
                taken.append(append(stream, run_ms))
            elif step == "restart":
                # Killed in the middle of a write: the file ends in a piece of a line.
                (path,) = folder.glob("*.jsonl")
                with path.open("ab") as file:
                    file.write(b'{"cpu_ms":12345'[: amount % 16])
                spool = Spool(folder)
                found = spool.of_attempt("att_a")
                assert found is not None
                stream = found
            else:
                for reading in spool.unsent(amount):
                    if step == "report":
                        assert billed.setdefault(reading.sequence, reading) == reading
                if step == "lose":
                    spool.rewind()
                contiguous = next(number for number in range(len(billed) + 1) if number + 1 not in billed)
                spool.settle({stream.stream_id: contiguous})
        append(stream, run_ms, final=True)
        while len(spool):
            for reading in spool.unsent(3):
                billed.setdefault(reading.sequence, reading)
            spool.settle({stream.stream_id: len(billed)})
        chain = [billed[number] for number in range(1, len(billed) + 1)]
        assert [reading.previous_hash for reading in chain] == [GENESIS, *(reading.hash for reading in chain[:-1])]
        assert chain[:-1] == taken
        assert not list(folder.iterdir())


def test_a_stream_whose_chain_is_broken_is_set_aside_for_a_new_one(tmp_path: Path) -> None:
    stream = begin(Spool(tmp_path))
    for run_ms in (1, 2, 3):
        append(stream, run_ms)
    (path,) = tmp_path.glob("*.jsonl")
    head, first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + first + third)

    assert Spool(tmp_path).of_attempt("att_a") is None


def test_a_stream_of_an_earlier_boot_is_sent_and_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(begin(Spool(tmp_path)), 5)
    monkeypatch.setattr(streams, "boot_id", lambda: "another boot")

    spool = Spool(tmp_path)

    assert spool.of_attempt("att_a") is None
    (reading,) = spool.unsent()
    spool.settle({reading.stream_id: 1})
    assert len(spool) == 0


def test_readings_that_do_not_become_durable_are_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    reading = append(begin(spool), 5)
    assert spool.unsent() == [reading]
    assert spool.unsent() == []

    monkeypatch.setattr(spools, "RESEND_SECONDS", -1.0)

    assert spool.unsent() == [reading]


def test_every_stream_gets_its_share_of_a_report(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name in "abc":
        stream = begin(spool, name)
        for run_ms in range(10):
            append(stream, run_ms)

    leases = [reading.lease_id for reading in spool.unsent(9)]

    assert {leases.count(lease_id) for lease_id in leases} == {3}


def test_a_long_backlog_slows_the_readings_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "BACKLOG_MAX", 2)
    stream = begin(Spool(tmp_path))
    append(stream, 1)
    assert spools.pace_seconds(stream) == spools.PACE_SECONDS
    append(stream, 2)
    assert spools.pace_seconds(stream) == spools.SLOW_PACE_SECONDS


def test_a_reading_that_the_disk_only_took_in_part_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = begin(Spool(tmp_path))
    first = append(stream, 1)
    real_write = streams.os.write
    monkeypatch.setattr(streams.os, "write", lambda fd, data: real_write(fd, data[:10]))
    with pytest.raises(OSError, match="part"):
        append(stream, 2)
    monkeypatch.undo()

    third = append(stream, 3)

    assert (third.sequence, third.previous_hash) == (2, first.hash)
    assert Spool(tmp_path).unsent() == [first, third]
