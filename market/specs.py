"""The job specification (job.yaml): the whole schema, what works of it, and errors that say how to mend it."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from market.errors import FieldError, InvalidInput
from market.faults import faults_of, shown
from market.measured import parse_rate
from market.money import PRICE_MAX_MICROUSD, parse_usdc
from market.resources import GpuRequest, parse_cpu, parse_gpu, parse_size

DURATION_MAX_SECONDS = 30 * 24 * 3600
ENV_MAX, SECRETS_MAX, OUTPUTS_MAX, LABELS_MAX = 100, 50, 50, 10
WHERE_MAX = 50
TOLERANCE_MAX_MILLI = 1000
WORD_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._/=-]{0,61}[A-Za-z0-9])?$"
"""A region, a label such as ssd=nvme, or a taint."""
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d)?)\s*%|0", re.ASCII)
_DURATION = re.compile(r"^(?=.)(?:(\d{1,4})d)?\s*(?:(\d{1,4})h)?\s*(?:(\d{1,5})m)?\s*(?:(\d{1,7})s?)?$", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_RESERVED_ENV = ("GRIDBAY_", "RAY_", "LD_PRELOAD", "LD_LIBRARY_PATH")

NOT_YET: Mapping[str, frozenset[str]] = {
    "": frozenset(
        {
            "image",
            "setup",
            "inputs",
            "ports",
            "schedule",
            "idle",
            "notify",
        }
    ),
    "/resources": frozenset({"nodes", "placement"}),
}
"""Reserved fields by the place they belong to: known, refused until they work."""


class InvalidSpec(InvalidInput):
    code = "invalid_spec"


def parse_duration(value: str | int) -> int:
    """Seconds of 3600, "90s", "15m", "2h" or "1d 6h". Raises ValueError."""
    match = _DURATION.match(str(value).strip())
    seconds = 0
    if match is not None:
        days, hours, minutes, rest = (int(group or 0) for group in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not 0 < seconds <= DURATION_MAX_SECONDS:
        raise ValueError(f"{value!r} is not a duration: write it like 90s, 15m, 2h or 1d 6h, 30 days at most")
    return seconds


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Cpu = Annotated[int, BeforeValidator(parse_cpu), Field(gt=0)]
Duration = Annotated[int, BeforeValidator(parse_duration), Field(gt=0)]
Usdc = Annotated[int, BeforeValidator(parse_usdc), Field(ge=0)]
UsdcPrice = Annotated[int, BeforeValidator(parse_usdc), Field(ge=0, le=PRICE_MAX_MICROUSD)]
Gpu = Annotated[
    GpuRequest | None,
    BeforeValidator(lambda value: value if isinstance(value, GpuRequest) else parse_gpu(value)),
]


def _variable_name(name: str) -> str:
    if _VARIABLE.fullmatch(name) is None:
        raise ValueError(
            f"`{shown(name)}` is not the name of a variable: use letters, digits and `_`, no digit first, 128 at most"
        )
    if name.startswith(_RESERVED_ENV):
        raise ValueError(f"`{shown(name)}` is reserved; use another name")
    return name


def _job_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError("write a name in small letters, digits, `.`, `_` and `-`, 63 at most")
    return name


def _version(value: object) -> str:
    text = str(value)
    if _VERSION.fullmatch(text) is None:
        raise ValueError(f'{text!r} is not a version: write it like "12.4", in quotes')
    return text


def _rate(value: object) -> str:
    text = str(value)
    parse_rate(text)
    return text


def parse_tolerance(value: str | int | float) -> int:
    """Thousandths of "5%", "0.5%" or 0. Raises ValueError."""
    match = _PERCENT.fullmatch(str(value).strip())
    milli = -1 if match is None else round(float(match[1] or 0) * 10)
    if not 0 <= milli <= TOLERANCE_MAX_MILLI:
        raise ValueError(f"{value!r} is not a tolerance: write it like 5%, 100% at most")
    return milli


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL, which no command, file or variable can; remove it")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Word = Annotated[str, Field(pattern=WORD_PATTERN)]
ProviderId = Annotated[str, Field(pattern=r"^prv_[0-9A-HJKMNP-TV-Z]{26}$")]
Version = Annotated[str, BeforeValidator(_version)]
Rate = Annotated[str, BeforeValidator(_rate)]
Tolerance = Annotated[int, BeforeValidator(parse_tolerance), Field(ge=0, le=TOLERANCE_MAX_MILLI)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
JobName = Annotated[str, AfterValidator(_job_name)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Resources(_Part):
    """What the job needs of one node. cpu in thousandths, memory and disk in bytes after parsing."""

    gpu: Gpu = Field(
        default=None,
        description="H100, H100:80GB:2, 24GB.., 24GB..48GB:2, A100:1g.5gb (a MIG slice), a count, or 0 for none",
    )
    cpu: Cpu = Field(default=1000, description="CPUs: 2, 0.5 or 500m")
    memory: Size = Field(default=2 * 10**9, description="RAM: 4GB or 4GiB")
    disk: Size = Field(default=5 * 10**9, description="scratch space of the working directory")
    simulated: bool = Field(default=False, description="take simulated GPUs; without it they are never given")


class Budget(_Part):
    """Limits in USDC. After parsing: micro-USDC."""

    max_price: UsdcPrice | None = Field(default=None, description="the most for one GPU (or CPU) for one hour")
    max_total: Usdc | None = Field(default=None, description="the most the whole job may cost")
    price_tolerance: Tolerance = Field(
        default=0, description="by how much dearer than the cheapest an offer may be that suits the market better: 5%"
    )


class Providers(_Part):
    """By their ids. Allowed are those that are named, or all where none is; denied are never taken."""

    allow: list[ProviderId] = Field(default_factory=list, max_length=WHERE_MAX, description="these alone: prv_...")
    deny: list[ProviderId] = Field(default_factory=list, max_length=WHERE_MAX, description="never these")


class Where(_Part):
    """Which nodes will do. What is left out asks nothing; versions are the least that will do."""

    regions: list[Word] = Field(default_factory=list, max_length=WHERE_MAX, description="one of these: eu-west")
    providers: Providers = Providers()
    verified_only: bool = Field(default=False, description="every device has proven that it computes")
    min_reliability: float | None = Field(default=None, ge=0, le=1, description="such as 0.95")
    labels: list[Word] = Field(default_factory=list, max_length=WHERE_MAX, description="all of these: ssd=nvme")
    tolerations: list[Word] = Field(default_factory=list, max_length=WHERE_MAX, description="taints that do not matter")
    driver: Version | None = Field(default=None, description='at least "550.54"')
    cuda: Version | None = Field(default=None, description='at least "12.4"')
    compute_capability: Version | None = Field(default=None, description='at least "8.0"')
    nvlink: bool = Field(default=False, description="the GPUs are joined by NVLink")
    network: Rate | None = Field(
        default=None, description="at least 100Mbit to and from storage, as the node measured it"
    )
    pcie: Rate | None = Field(
        default=None, description="at least 20GB between host and each GPU, as the node measured it"
    )


class Retry(_Part):
    """When a new attempt follows one that ended badly."""

    on: list[Literal["provider_lost", "failure"]] = Field(
        default=["provider_lost"],
        max_length=2,
        description="provider_lost: its node failed it; failure: it failed by itself",
    )
    max_attempts: int = Field(default=3, ge=1, le=20, description="how many in all")


class Output(_Part):
    """A file or pattern below the working directory, kept after the job ends."""

    path: str = Field(min_length=1, max_length=500)

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/") or "\\" in path or "\0" in path:
            raise ValueError(f"{path!r} leaves the working directory; name a path inside it")
        return path


class JobSpec(_Part):
    """A job as its customer describes it."""

    api_version: Literal["gridbay/v1"] = Field(default="gridbay/v1", alias="apiVersion")
    kind: Literal["job"] = "job"
    name: JobName | None = Field(default=None, description="what it is called in lists; it need not be unique")
    run: Text = Field(
        min_length=1, max_length=32_768, description="shell commands, run with bash in the working directory"
    )
    workdir: Text | None = Field(default=None, max_length=500, description="a local folder, sent along as an archive")
    env: dict[VariableName, Annotated[Text, Field(max_length=32_768)]] = Field(
        default_factory=dict, max_length=ENV_MAX, description="variables of its environment: {EPOCHS: 5}"
    )
    secrets: list[VariableName] = Field(
        default_factory=list,
        max_length=SECRETS_MAX,
        description="names of stored secrets, given as environment variables",
    )
    resources: Resources = Resources()
    budget: Budget = Budget()
    where: Where | None = None
    labels: list[Word] = Field(
        default_factory=list,
        max_length=LABELS_MAX,
        description="words of your own that budgets may be set for: team=vision",
    )
    max_duration: Duration = Field(default=24 * 3600, description="the longest it may run, over all its attempts")
    priority: int = Field(
        default=0,
        ge=0,
        le=100,
        description="which of your own waiting jobs goes first: the higher; of equals the older",
    )
    spot: bool = Field(
        default=False,
        description="it pays budget.max_price, its bid; who pays more interrupts it, then it is tried again",
    )
    retry: Retry = Retry()
    outputs: list[Output] = Field(
        default_factory=list, max_length=OUTPUTS_MAX, description="files or patterns below the working directory: *.png"
    )

    @field_validator("env", mode="before")
    @classmethod
    def _text_values(cls, env: object) -> object:
        """YAML reads EPOCHS: 5 as a number; an environment has only text."""
        if not isinstance(env, Mapping):
            return env
        return {k: str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for k, v in env.items()}

    @field_validator("labels")
    @classmethod
    def _each_once(cls, labels: list[str]) -> list[str]:
        return list(dict.fromkeys(labels))

    @field_validator("outputs", mode="before")
    @classmethod
    def _plain_paths(cls, outputs: object) -> object:
        """`outputs: [metrics.json]` says the same as `outputs: [{path: metrics.json}]`."""
        if not isinstance(outputs, list):
            return outputs
        return [{"path": item} if isinstance(item, str) else item for item in outputs]

    @property
    def quantity_milli(self) -> int:
        """Thousandths of the priced unit: GPUs when GPUs are asked for, CPUs otherwise."""
        return self.resources.gpu.count * 1000 if self.resources.gpu else self.resources.cpu


def parse_job_spec(data: object) -> JobSpec:
    """The specification of plain data (parsed YAML or JSON). Raises InvalidSpec with a pointer for every fault."""
    if not isinstance(data, Mapping):
        raise InvalidSpec(
            "a job is a mapping of fields such as `run:`", errors=[FieldError("", "not a mapping", "wrong_type")]
        )
    faults = list(_reserved(data))
    reserved = {fault.pointer for fault in faults}
    try:
        spec = JobSpec.model_validate(data)
    except ValidationError as error:
        found = faults_of(JobSpec, error.errors(include_url=False), NOT_YET)
        faults += [fault for fault in found if fault.pointer not in reserved]
        raise InvalidSpec(_summary(faults), errors=faults) from None
    if spec.spot and spec.budget.max_price is None:
        faults.append(
            FieldError("/budget/max_price", "a spot job pays what it bids: name its bid here", "missing_field")
        )
    if faults:
        raise InvalidSpec(_summary(faults), errors=faults)
    return spec


def spec_document(spec: JobSpec) -> dict[str, Any]:
    """The specification as plain data that `stored_spec` reads back; sizes and money are in their smallest units."""
    return spec.model_dump(mode="json", by_alias=True)


def stored_spec(document: Mapping[str, Any]) -> JobSpec:
    """The specification of a document that `spec_document` wrote."""
    data = dict(document)
    resources, budget = dict(data["resources"]), dict(data["budget"])
    gpu = resources.pop("gpu")
    parsed = Resources.model_construct(**{**resources, "gpu": GpuRequest(**gpu) if gpu else None})
    rest = {key: value for key, value in data.items() if key not in ("resources", "budget")}
    spec = JobSpec.model_validate(rest)
    return spec.model_copy(update={"resources": parsed, "budget": Budget.model_construct(**budget)})


def _reserved(data: Mapping[Any, Any]) -> Iterator[FieldError]:
    for place, names in NOT_YET.items():
        part = data if place == "" else data.get(place[1:])
        if isinstance(part, Mapping):
            for name in sorted(names & part.keys()):
                yield FieldError(f"{place}/{name}", f"`{name}` is not available yet; remove it", "not_yet")
    if data.get("kind") == "service":
        yield FieldError("/kind", "`kind: service` is not available yet; use `kind: job`", "wrong_choice", "job")


def _summary(faults: list[FieldError]) -> str:
    first = f"{faults[0].pointer or 'the job'}: {faults[0].detail}"
    return first if len(faults) == 1 else f"{first} (and {len(faults) - 1} more)"
