"""What `gridbay run` is told on the command line, as fields of a job: for a job without a file, or above one's own."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from market.errors import FieldError, InvalidInput
from market.specs import InvalidSpec


@dataclass(frozen=True, slots=True)
class JobFlags:
    """As typed; None or empty: not said."""

    name: str | None = None
    gpu: str | None = None
    cpu: str | None = None
    memory: str | None = None
    disk: str | None = None
    simulated: bool | None = None
    spot: bool | None = None
    workdir: str | None = None
    env: Sequence[str] = ()
    secret: Sequence[str] = ()
    keep: Sequence[str] = ()
    label: Sequence[str] = ()
    max_price: str | None = None
    max_total: str | None = None
    max_duration: str | None = None

    def applied_to(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The job's data with these fields in place of its own; variables are added to its own."""
        job = dict(data)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value == ():
                continue
            section, name = _PLACES[field.name]
            if section:
                job[section] = {**_mapping(job.get(section)), name: value}
            elif name == "env":
                job[name] = {**_mapping(job.get(name)), **_variables(value)}
            else:
                job[name] = list(value) if isinstance(value, list | tuple) else value
        return job

    def blamed(self, fault: FieldError) -> str | None:
        """The option that a fault is of, if it is one that was said."""
        for name, (section, field) in _PLACES.items():
            value = getattr(self, name)
            said = value is not None and value != ()
            pointer = f"/{section}/{field}" if section else f"/{field}"
            if said and (fault.pointer == pointer or fault.pointer.startswith(f"{pointer}/")):
                return f"--{name.replace('_', '-')}"
        return None


_PLACES = {
    "name": ("", "name"),
    "gpu": ("resources", "gpu"),
    "cpu": ("resources", "cpu"),
    "memory": ("resources", "memory"),
    "disk": ("resources", "disk"),
    "simulated": ("resources", "simulated"),
    "spot": ("", "spot"),
    "workdir": ("", "workdir"),
    "env": ("", "env"),
    "secret": ("", "secrets"),
    "keep": ("", "outputs"),
    "label": ("", "labels"),
    "max_price": ("budget", "max_price"),
    "max_total": ("budget", "max_total"),
    "max_duration": ("", "max_duration"),
}


def command_text(words: Sequence[str]) -> str:
    """The shell command of the words after `--`; a single word is shell text already."""
    return words[0] if len(words) == 1 else shlex.join(words)


def explained(error: InvalidSpec, flags: JobFlags) -> InvalidInput:
    """The faults of a job that has no file, by the options that they are of."""
    faults = error.errors or (FieldError("", error.detail),)
    lines = []
    for fault in faults:
        place = flags.blamed(fault) or fault.pointer.lstrip("/").replace("/", ".") or "the job"
        lines.append(f"{place}: {fault.detail}")
    return InvalidInput("\n".join(lines), errors=faults)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _variables(words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--env {word}: write it like --env NAME=VALUE")
        pairs[name] = value
    return pairs
