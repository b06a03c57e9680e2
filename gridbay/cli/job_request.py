"""What `gridbay run` is about to ask for: the checked job and the folder that goes with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridbay.cli.job_file import JobFile, read_job_file
from gridbay.cli.job_flags import JobFlags, command_text, explained
from market.errors import FieldError, InvalidInput
from market.specs import InvalidSpec, JobSpec, parse_job_spec


@dataclass(frozen=True, slots=True)
class JobRequest:
    """data: as plain data, for the market; folder: the working directory here, None if nothing is sent."""

    data: dict[str, Any]
    spec: JobSpec
    folder: Path | None
    source: JobFile | None


def job_of_file(path: Path, flags: JobFlags, command: Sequence[str], *, send_folder: bool) -> JobRequest:
    """The job of a file, with what the command line says above it. Its workdir is relative to the file."""
    file = read_job_file(path)
    data = flags.applied_to(file.data)
    if command:
        data["run"] = command_text(command)
    if not send_folder:
        data.pop("workdir", None)
    try:
        spec = parse_job_spec(data)
    except InvalidSpec as error:
        of_options = [fault for fault in error.errors if flags.blamed(fault)]
        if of_options:
            raise explained(InvalidSpec(error.detail, errors=of_options), flags) from None
        raise file.explained(error) from None
    # A folder that is named here is meant from here.
    base = Path() if flags.workdir is not None else path.parent
    folder = base / spec.workdir if spec.workdir is not None else None
    if folder is not None and not folder.is_dir():
        missing = FieldError("/workdir", f"{folder} is not a folder")
        if flags.workdir is not None:
            raise InvalidInput(f"--workdir: {missing.detail}")
        raise file.explained(InvalidSpec(missing.detail, errors=[missing]))
    return JobRequest(data, spec, folder, file)


def job_of_command(flags: JobFlags, command: Sequence[str], *, send_folder: bool) -> JobRequest:
    """A job that is only a command. The current folder goes with it unless that is not wanted."""
    data = flags.applied_to({"run": command_text(command)})
    if send_folder and "workdir" not in data:
        data["workdir"] = "."
    try:
        spec = parse_job_spec(data)
    except InvalidSpec as error:
        raise explained(error, flags) from None
    folder = Path(spec.workdir) if spec.workdir is not None else None
    if folder is not None and not folder.is_dir():
        raise InvalidInput(f"--workdir: {folder} is not a folder")
    if folder is not None and flags.workdir is None and folder.resolve() in (Path.home(), Path("/")):
        raise InvalidInput(
            f"{folder.resolve()} would be sent as the working directory",
            remedy="go to the folder of the job, name one with --workdir, or send none with --no-workdir",
        )
    return JobRequest(data, spec, folder, None)
