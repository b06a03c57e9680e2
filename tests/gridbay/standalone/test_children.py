"""What a tree may look like, and the log of one child."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gridbay.standalone.child_log import TAIL_LINE_BYTES_MAX, TAIL_LINES, ChildLog
from gridbay.standalone.child_process import ChildProcess
from gridbay.standalone.children import Child, Tree


def child(name: str, *needs: str) -> Child:
    return Child(name=name, argv=("true",), env={}, cwd=Path("/"), needs=needs)


def test_a_child_needs_only_what_is_named_before_it() -> None:
    Tree((child("a"), child("b", "a"), child("c", "a", "b")))
    with pytest.raises(ValueError, match="two children are called a"):
        Tree((child("a"), child("a")))
    with pytest.raises(ValueError, match="a needs b, which no earlier child is called"):
        Tree((child("a", "b"), child("b")))


def test_what_is_shown_of_a_tree_has_no_environment_and_no_secret() -> None:
    tree = Tree((Child(name="a", argv=("true",), env={"URL": "redis://:pw@host"}, cwd=Path("/")),), secrets=("pw",))
    assert "pw" not in repr(tree)


@given(chunks=st.lists(st.lists(st.sampled_from([b"\n", b"a", b"\xff"]), max_size=90).map(b"".join), max_size=30))
@example(chunks=[b"".join(b"%d\n" % number for number in range(50))])
def test_the_end_of_a_log_is_its_last_lines_however_it_was_cut(chunks: list[bytes]) -> None:
    log = ChildLog(Path("/dev/null"))
    for chunk in chunks:
        log.write(chunk)
    whole = b"".join(chunks).split(b"\n")
    lines = whole if whole[-1] else whole[:-1]
    expected = [line[:TAIL_LINE_BYTES_MAX].decode(errors="replace").rstrip() for line in lines[-TAIL_LINES:]]
    assert log.tail() == expected
    log.close()


def test_a_log_takes_bounded_room_and_loses_only_the_oldest(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "x.log", bytes_max=1000)
    lines = [f"line {number}\n" for number in range(500)]
    for line in lines:
        log.write(line.encode())
    log.close()
    kept = (tmp_path / "x.log.1").read_text() + (tmp_path / "x.log").read_text()
    assert "".join(lines).endswith(kept)
    assert 1000 < len(kept) <= 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1"]


def test_a_full_disk_costs_lines_not_the_market() -> None:
    log = ChildLog(Path("/dev/full"))
    log.write(b"the last word\n")
    assert log.tail() == ["the last word"]
    log.close()


def test_its_last_words_are_heard_even_if_its_end_is_noticed_first(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "x.log")

    async def live() -> None:
        process = ChildProcess(Child(name="x", argv=("echo", "the last words"), env={}, cwd=Path("/")), log)
        process.ended(os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]))  # noqa: ASYNC222 (the loop shall not run)
        assert log.tail() == ["the last words"]
        assert await process.wait() == 0

    asyncio.run(live())
    log.close()
