"""Runs every test, in lanes side by side: some mostly wait for real processes, some mostly compute.

    python infra/ci/suite.py [--options of pytest] [folders of tests, or any words for pytest: then in one lane]

What failed is run once more, alone; what passes then is named at the end: it is flaky, and to be mended.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

WAITING = {
    "faults": ("faults",),
    "machines": ("provider_agent",),
    "markets": ("gridbay", "engines", "infra", "examples"),
}
"""Folders of tests that start processes, by their lane."""
COMPUTING = {"money": ("billing", "monitoring"), "rules": ()}
"""Folders of tests that compute, in two lanes, for two cores; a folder that is named nowhere is in the last."""
BELOW = ("nice", "-n", "5")
"""Who computes leaves the machine to processes that somebody waits for."""

SOME_FAILED = 1
"""Of pytest's exit statuses, the one that tells of tests and not of pytest itself."""


@dataclass(frozen=True)
class Lane:
    """name: also of its memory of what failed."""

    name: str
    words: tuple[str, ...]
    before: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        memory = f"cache_dir=.pytest_cache/{self.name}"
        return [*self.before, str(Path(sys.executable).with_name("pytest")), "-o", memory, *self.words]

    def failed(self) -> set[str]:
        """The tests that failed when they were last run."""
        kept = Path(f".pytest_cache/{self.name}/v/cache/lastfailed")
        return set(json.loads(kept.read_text())) if kept.exists() else set()

    def forget(self) -> None:
        Path(f".pytest_cache/{self.name}/v/cache/lastfailed").unlink(missing_ok=True)

    def once_more(self) -> int:
        return subprocess.run([*self.command, "--last-failed"], check=False).returncode


def lanes(words: list[str]) -> list[Lane]:
    """Folders of tests, by default all there are, go to their lanes."""
    options = [word for word in words if word.startswith("--")]
    folders = [word for word in words if word not in options]
    if not all(Path(word).is_dir() and Path(word).parts[1:] for word in folders):
        return [Lane("chosen", tuple(words))]
    everything = [*Path("tests").glob("[a-z]*/"), *Path("tests").glob("test_*.py")]
    chosen: dict[str, list[str]] = {}
    for path in [Path(word) for word in folders] or sorted(everything):
        named = (name for name, members in (WAITING | COMPUTING).items() if path.parts[1] in members)
        chosen.setdefault(next(named, "rules"), []).append(str(path))
    return [Lane(name, (*options, *paths), BELOW if name in COMPUTING else ()) for name, paths in chosen.items()]


def run(first: Lane, *others: Lane) -> dict[Lane, int]:
    """The exit status of each; the first one's output is seen as it comes, the others' when they have ended."""
    with tempfile.TemporaryDirectory() as folder:
        begun = []
        for lane in others:
            output = Path(folder) / lane.name
            with output.open("wb") as file:
                begun.append((lane, output, subprocess.Popen(lane.command, stdout=file, stderr=subprocess.STDOUT)))
        statuses = {first: subprocess.run(first.command, check=False).returncode}
        for lane, output, process in begun:
            statuses[lane] = process.wait()
            said = output.read_text(errors="replace")
            say(f"suite: {lane.name}:\n{said}")
    return statuses


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """0 if every test passed, be it the second time."""
    chosen = lanes(sys.argv[1:])
    for lane in chosen:
        lane.forget()
    statuses = run(*chosen)
    flaky: set[str] = set()
    for lane in chosen:
        if statuses[lane] == SOME_FAILED and (failed := lane.failed()):
            say(f"suite: {lane.name}: once more, what failed, alone")
            statuses[lane] = lane.once_more()
            flaky |= failed - lane.failed()
    if flaky:
        say("suite: these failed, and passed alone; they are flaky, mend them:\n" + "\n".join(sorted(flaky)))
    return next(filter(None, statuses.values()), 0)


if __name__ == "__main__":
    sys.exit(main())
