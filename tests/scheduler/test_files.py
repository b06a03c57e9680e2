"""What lies in storage: a log without a gap or a doubled byte, outputs of the newest attempt, archives by hash."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market_world import ORGANIZATION, World

from infra.secrets import SecretBox
from infra.storage import Storage
from infra.storage.local import LocalStorage
from market.agent_api import LOG_CHUNK_MAX_BYTES, OutputFile
from market.errors import InvalidInput, NotFound, StaleAttempt, TooLarge
from market.states import Reason
from scheduler.files import logs, outputs, workdirs

SHA = hashlib.sha256(b"archive").hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path, "http://127.0.0.1:1", SecretBox(bytes(32)), 60)


def append(world: World, storage: Storage, attempt_id: str, offset: int, data: bytes) -> int:
    node_id = world.record_of_attempt(attempt_id).node_id
    return logs.append(world.session, storage, node_id, attempt_id, offset, data, world.clock.now())


def whole(world: World, storage: Storage, job_id: str, limit: int = 10**6) -> bytes:
    """The log as a follower reads it, piece by piece."""
    number, offset, found = 1, 0, b""
    while pieces := logs.read(world.session, storage, job_id, number, offset, limit):
        for piece in pieces:
            assert piece.offset == (offset if piece.attempt_number == number else 0)
            number, offset, found = piece.attempt_number, piece.end, found + piece.data
    return found


def test_a_chunk_is_stored_from_where_the_log_ends_whatever_was_sent(world: World, storage: LocalStorage) -> None:
    world.node()
    job_id, attempt_id = world.running()
    assert append(world, storage, attempt_id, 0, b"hello") == 5
    assert append(world, storage, attempt_id, 0, b"hello") == 5
    assert append(world, storage, attempt_id, 2, b"llo, wor") == 10
    assert append(world, storage, attempt_id, 11, b"gap") == 10
    assert append(world, storage, attempt_id, 10, b"") == 10
    assert append(world, storage, attempt_id, 10, b"ld") == 12
    assert whole(world, storage, job_id) == b"hello, world"
    assert whole(world, storage, job_id, limit=3) == b"hello, world"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=12))
def test_any_order_of_chunks_leaves_a_prefix_and_an_agent_that_goes_on_completes_it(
    world: World, storage: LocalStorage, log: bytes, chunks: list[tuple[int, int]]
) -> None:
    world.node()
    job_id, attempt_id = world.running(resources={"cpu": "1m", "memory": 1, "disk": 1})
    end = 0
    for offset, size in chunks:
        end = append(world, storage, attempt_id, offset, log[offset : offset + size])
        assert whole(world, storage, job_id) == log[:end]
    while end < len(log):
        end = append(world, storage, attempt_id, end, log[end : end + 17])
    assert whole(world, storage, job_id) == log
    world.report(attempt_id, "exited", Reason.SUCCEEDED, 0)


def test_a_log_goes_on_through_the_attempts_and_ends_with_the_job(world: World, storage: LocalStorage) -> None:
    world.node()
    job_id, first = world.running(retry={"on": ["failure"], "max_attempts": 2})
    append(world, storage, first, 0, b"one ")
    world.report(first, "exited", Reason.FAILED_EXIT_CODE, 1)
    assert append(world, storage, first, 0, b"one ") == 4
    with pytest.raises(StaleAttempt):
        append(world, storage, first, 4, b"late")
    world.fund(job_id, 60)
    world.place()
    second = world.newest(job_id).id
    append(world, storage, second, 0, b"two")
    assert whole(world, storage, job_id) == b"one two"
    rest = logs.read(world.session, storage, job_id, 1, 2, 10**6)
    assert b"".join(piece.data for piece in rest) == b"e two"
    assert not logs.ended(world.session, job_id, 2, 3)
    world.report(second, "exited", Reason.SUCCEEDED, 0)
    places = [(1, 4), (2, 2), (2, 3)]
    assert [logs.ended(world.session, job_id, *place) for place in places] == [False, False, True]


def test_logs_are_bounded_and_belong_to_their_node(
    world: World, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.node()
    _, attempt_id = world.running()
    with pytest.raises(TooLarge):
        append(world, storage, attempt_id, 0, bytes(LOG_CHUNK_MAX_BYTES + 1))
    monkeypatch.setattr(logs, "LOG_MAX_BYTES", 4)
    with pytest.raises(TooLarge):
        append(world, storage, attempt_id, 0, b"12345")
    with pytest.raises(NotFound):
        logs.append(world.session, storage, world.node().id, attempt_id, 0, b"x", world.clock.now())


def output(path: str, data: bytes) -> OutputFile:
    return OutputFile(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def declare(world: World, storage: Storage, attempt_id: str, *files: OutputFile) -> list[tuple[str, str]]:
    node_id = world.record_of_attempt(attempt_id).node_id
    return outputs.declare(world.session, storage, node_id, attempt_id, files, world.clock.now())


def test_outputs_count_once_storage_has_all_of_them(world: World, storage: LocalStorage) -> None:
    world.node()
    job_id, attempt_id = world.running()
    files = [output("a.txt", b"alpha"), output("out/b.txt", b"beta")]
    missing = dict(declare(world, storage, attempt_id, *files))
    assert list(missing) == ["a.txt", "out/b.txt"]
    assert outputs.list_files(world.session, job_id) == []
    storage.put(missing["a.txt"], b"alpha")
    storage.put(missing["out/b.txt"], b"be")
    assert [path for path, _ in declare(world, storage, attempt_id, *files)] == ["out/b.txt"]
    storage.put(missing["out/b.txt"], b"beta")
    assert declare(world, storage, attempt_id, *files) == []
    assert [(file.path, file.size_bytes) for file in outputs.list_files(world.session, job_id)] == [
        ("a.txt", 5),
        ("out/b.txt", 4),
    ]
    changed = declare(world, storage, attempt_id, output("a.txt", b"gamma"))
    assert [path for path, _ in changed] == ["a.txt"], "same size, other bytes"


def test_only_the_newest_attempt_keeps_outputs(world: World, storage: LocalStorage) -> None:
    world.node()
    job_id, first = world.running(retry={"on": ["failure"], "max_attempts": 2})
    storage.put(declare(world, storage, first, output("a", b"old"))[0][1], b"old")
    declare(world, storage, first, output("a", b"old"))
    world.report(first, "exited", Reason.FAILED_EXIT_CODE, 1)
    with pytest.raises(StaleAttempt):
        declare(world, storage, first, output("b", b"late"))
    world.fund(job_id, 60)
    world.place()
    assert outputs.list_files(world.session, job_id) == []
    with pytest.raises(NotFound):
        outputs.declare(world.session, storage, world.node().id, first, [], world.clock.now())


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a\\b", "nul\0"])
def test_no_output_leaves_the_working_directory(world: World, storage: LocalStorage, path: str) -> None:
    world.node()
    _, attempt_id = world.running()
    with pytest.raises(InvalidInput):
        declare(world, storage, attempt_id, output(path, b""))


def test_an_archive_is_uploaded_once_for_each_organization(world: World, storage: LocalStorage) -> None:
    now = world.clock.now()
    with pytest.raises(NotFound):
        workdirs.require(world.session, storage, ORGANIZATION, SHA, now)
    key = workdirs.declare(world.session, storage, ORGANIZATION, SHA, 7, now)
    assert key == workdirs.key(ORGANIZATION, SHA)
    with pytest.raises(InvalidInput, match="0 of 7 bytes"):
        workdirs.require(world.session, storage, ORGANIZATION, SHA, now)
    storage.put(key, b"archive")
    workdirs.require(world.session, storage, ORGANIZATION, SHA, now)
    assert workdirs.declare(world.session, storage, ORGANIZATION, SHA, 7, now) is None
    assert workdirs.declare(world.session, storage, "org_other", SHA, 7, now) is not None
