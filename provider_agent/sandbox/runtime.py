"""Owns the Python that jobs find: an environment of its own, shown read-only at a fixed path, never the platform's."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

INSIDE = Path("/opt/gridbay/jobs")
BASE_INSIDE = Path("/opt/gridbay/python")
LIBRARIES_INSIDE = Path("/opt/gridbay/lib")  # libpython alone: the rest of a base's libraries is not for everyone
_SYSTEM = Path("/usr")


class UnusableRuntime(Exception):
    """The folder is no environment that jobs could use; the message says why."""


@dataclass(frozen=True, slots=True)
class JobRuntime:
    """An environment made by venv or uv. base: the prefix of its interpreter, None when that lies in /usr."""

    environment: Path
    base: Path | None
    interpreter: Path  # below the prefix, or absolute in /usr
    version: str
    libraries: tuple[str, ...] = ()  # the libpython files of a base outside /usr, if its interpreter is a shared one

    @property
    def home_inside(self) -> Path:
        return self.interpreter_inside.parent

    @property
    def interpreter_inside(self) -> Path:
        return self.interpreter if self.base is None else BASE_INSIDE / self.interpreter

    def configuration_inside(self) -> str:
        """The pyvenv.cfg that is true where the environment is shown."""
        lines = (f"home = {self.home_inside}", "include-system-site-packages = false", f"version = {self.version}")
        return "\n".join(lines) + "\n"


def find_runtime(environment: Path) -> JobRuntime:
    """Read an environment's pyvenv.cfg and find its base interpreter."""
    if environment.resolve() == Path(sys.prefix).resolve():
        raise UnusableRuntime(f"{environment} is the platform's own environment; jobs get another one")
    configuration = environment / "pyvenv.cfg"
    try:
        rows = (line.partition("=") for line in configuration.read_text().splitlines())
    except OSError as error:
        raise UnusableRuntime(f"{configuration}: {error.strerror}; make it with `make setup`") from None
    values = {name.strip(): value.strip() for name, _, value in rows}
    version = ".".join((values.get("version_info") or values.get("version") or "").split(".")[:3])
    home = Path(values.get("home", ""))
    executable = home / f"python{'.'.join(version.split('.')[:2])}"
    if not os.access(executable, os.X_OK):
        raise UnusableRuntime(f"{configuration} names {executable} as its interpreter, which this user cannot run")
    # The real file: the name may lead through links that the sandbox does not show.
    executable = executable.resolve()
    if executable.is_relative_to(_SYSTEM):
        return JobRuntime(environment.resolve(), None, executable, version)
    base = executable.parent.parent
    libraries = tuple(sorted(path.name for path in (base / "lib").glob("libpython*.so*")))
    return JobRuntime(environment.resolve(), base, executable.relative_to(base), version, libraries)
