"""Every field of job.yaml, from the schema itself: `python -m gridbay.cli.job_reference > docs/job-yaml.md`."""

import json
import sys
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from market.specs import NOT_YET, JobSpec

INTRODUCTION = """\
A job is described by a file of these fields; `gridbay run job.yaml` submits it, `gridbay run --dry-run job.yaml` says
what it would get and cost. What is wrong is told with line and column. A field that is left out has its default; one
that is not known is refused, with what was probably meant. The SDK and REST take the same fields as JSON.
"""
EXAMPLE = """\
```yaml
name: train
run: python train.py --epochs $EPOCHS
workdir: .
env: {EPOCHS: 5}
secrets: [LICENSE_KEY]
resources: {gpu: "24GB..48GB", cpu: 4, memory: 16GB, disk: 50GB}
budget: {max_price: 0.45, max_total: 10, price_tolerance: 5%}
where: {regions: [eu-west], verified_only: true}
labels: [team=vision]
max_duration: 6h
retry: {"on": [provider_lost, failure], max_attempts: 5}
outputs: [model.safetensors, "*.png"]
```
"""

SURROUNDINGS = """
## What the command finds

- Its folder at `/work`, which is also `HOME`; `/usr` read-only, a `/tmp` of its own, and the leased GPUs.
- No network: what it needs goes along in the folder (512 MiB packed at most; `.gridbayignore` leaves out). On a market
  of your own without bubblewrap it is a plain process, and not so confined.
- `python` of the environment that the node keeps for jobs; on `gridbay up` it has scikit-learn and matplotlib, no pip.
- `GRIDBAY_JOB_ID`, `GRIDBAY_ATTEMPT`, `CUDA_VISIBLE_DEVICES`, `GPUS_PER_NODE`, besides `env` and `secrets`.
- A further attempt starts from the folder as it was sent. Of what it leaves, `outputs` are kept, and its log.
"""


def markdown() -> str:
    """docs/job-yaml.md."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "<!-- Written by `python -m gridbay.cli.job_reference > docs/job-yaml.md` from market/specs.py. -->"
    yield "# job.yaml\n"
    yield INTRODUCTION
    yield EXAMPLE
    yield "| field | default | what it is |\n| --- | --- | --- |"
    yield from _rows(JobSpec, "")
    yield "\nKnown and refused until they work: " + ", ".join(sorted(_reserved())) + "."
    yield SURROUNDINGS


def _rows(model: type[BaseModel], place: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{place}{field.alias or name}"
        part = _part(field)
        if part is not None:
            # What follows is for those who read the code.
            yield f"| `{path}` | | {(part.__doc__ or '').partition('. ')[0].rstrip('.')} |"
            yield from _rows(part, f"{path}.")
        else:
            yield f"| `{path}` | {_default(path, field)} | {field.description or _words(field.annotation)} |"


def _part(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that has fields of its own."""
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    found = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return next((kind for kind in found if kind.__module__ == JobSpec.__module__), None)


def _default(path: str, field: FieldInfo) -> str:
    """As a person would write it."""
    if field.is_required():
        return "needed"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return ""
    match path:
        case "resources.cpu":
            value = f"{value / 1000:g}"
        case "resources.memory" | "resources.disk":
            value = f"{value / 10**9:g}GB"
        case "max_duration":
            value = f"{value // 3600}h"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _words(kind: Any) -> str:
    """The values that a closed list allows."""
    inner = next(iter(get_args(kind)), None) if get_origin(kind) is list else kind
    return ", ".join(f"`{word}`" for word in get_args(inner)) if get_origin(inner) is Literal else ""


def _reserved() -> Iterator[str]:
    for place, names in NOT_YET.items():
        prefix = f"{place.lstrip('/')}." if place else ""
        yield from (f"`{prefix}{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(markdown())
