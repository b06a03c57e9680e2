"""Wrong things typed: the arguments, the exit status, and words that stderr must have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from served_market import Answer, problem


@dataclass(frozen=True)
class Typed:
    """env: beside the usual one; stdin: what is piped in; before: makes the folder it is typed in what it must be."""

    arguments: str
    status: int
    says: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    before: Callable[[Path], object] = lambda _: None


def run(flags: str, *says: str) -> Typed:
    return Typed(f"run --no-workdir {flags} -- true", 2, says)


FLAGS: Mapping[str, Typed] = {
    "half a GPU": run("--gpu 0.5", "--gpu: '0.5': shares of a GPU"),
    "a GPU nobody understands": run("--gpu ?!", "--gpu:", "write MODEL"),
    "65 GPUs": run("--gpu 65", "--gpu: '65': ask for 1 to 64 GPUs"),
    "a GPU squared": run("--gpu \u00b2", "--gpu:"),
    "lots of CPUs": run("--cpu lots", "--cpu: 'lots' is not a number of CPUs"),
    "no CPU": run("--cpu 0", "--cpu: '0' is not a number of CPUs"),
    "memory in GBB": run("--memory 16GBB", "--memory: '16GBB' is not a size: write it like 4GB"),
    "memory beyond all": run("--memory 99999TB", "--memory:", "out of range"),
    "disk of nothing": run("--disk 0", "--disk:", "out of range"),
    "a name in capitals": run("--name Digits", "--name: write a name in small letters"),
    "a price of seven decimals": run("--max-price 0.1234567", "--max-price:", "at most six decimals"),
    "a budget below nothing": run("--max-total=-1", "--max-total: '-1' is not an amount of USDC"),
    "a budget in words": run("--max-total much", "--max-total: 'much' is not an amount"),
    "a duration in weeks": run("--max-duration 3weeks", "--max-duration: '3weeks' is not a duration"),
    "a variable without a value": run("--env A", "--env A: write it like --env NAME=VALUE"),
    "a variable without a name": run("--env =x", "--env =x: write it like"),
    "a variable of ours": run("--env GRIDBAY_X=1", "--env: `GRIDBAY_X` is reserved"),
    "a variable with a dash": run("--env a-b=1", "--env: `a-b` is not the name of a variable"),
    "a secret with a dash": run("--secret a-b", "--secret: `a-b` is not the name of a variable"),
    "an output outside": run("--keep ../x", "--keep: '../x' leaves the working directory"),
    "several at once": run("--gpu 0.5 --cpu lots --max-total much", "--gpu:", "--cpu:", "--max-total:"),
    "no command": Typed("run", 2, ("what is to be run?", "mend: gridbay run job.yaml")),
    "an empty command": Typed("run --no-workdir -- ", 2, ("what is to be run?",)),
    "a mistyped option": Typed("run --gpuu 1 -- true", 2, ("No such option: --gpuu", "--gpu")),
    "a mistyped command": Typed("jbos", 2, ("No such command 'jbos'", "jobs")),
    "an argument that is missing": Typed("logs", 2, ("Missing argument 'JOB'",)),
    "a state that is none": Typed("jobs --state runing", 2, ("'running'",)),
    "an output that is none": Typed("jobs -o yaml", 2, ("'json'",)),
    "a limit of nothing": Typed("jobs --limit 0", 2, ("--limit",)),
    "a limit in words": Typed("jobs --limit ten", 2, ("--limit", "valid integer")),
    "a figure of nothing known": Typed("offers --at-least disk_reed=1GB", 2, ("--at-least: `disk_reed` is unknown", "did you mean `disk_read`?")),
    "a price for offers in words": Typed("offers --max-price cheap", 2, ("--max-price: 'cheap' is not an amount",)),
    "a deposit of nothing": Typed("deposit 0", 2, ("nothing to pay in", "mend: gridbay deposit 5")),
    "a deposit in words": Typed("deposit five", 2, ("'five' is not an amount of USDC",)),
    "a deposit of seven decimals": Typed("deposit 0.0000001", 2, ("at most six decimals",)),
    "a withdrawal of nothing": Typed("withdraw 0 --to x", 2, ("nothing to withdraw", "mend: see: gridbay balance")),
    "a withdrawal in words": Typed("withdraw five --to x", 2, ("'five' is not an amount of USDC",)),
    "a withdrawal to nowhere": Typed("withdraw 5", 2, ("to which wallet?", "say --to")),
    "a secret under no name": Typed("secrets set A=B", 2, ("'A=B' is not the name of a variable",), stdin="x"),
    "an empty secret": Typed("secrets set A", 2, ("the secret is empty", "mend: printf")),
    "a job that climbs": Typed("jobs show ..", 2, ("'..' is not a name of anything",)),
    "a job without a name": Typed("stop ''", 2, ("'' is not a name of anything",)),
    "a process that is none": Typed("process nope", 2, ("there is no process 'nope'", "mend: one of: api")),
    "no terminal to ask on": Typed("login", 2, ("which market?", "mend: gridbay login --url")),
    "a token that is none": Typed("login --url http://x --token hunter2", 2, ("not a token one logs in with", "gbc_")),
    "a token with a line break": Typed("balance", 2, ("the token holds characters",), {"GRIDBAY_TOKEN": "gbc_a\nb"}),
    "a token in Cyrillic": Typed("balance", 2, ("the token holds characters",), {"GRIDBAY_TOKEN": "gbc_\u0430"}),
    "a URL without a scheme": Typed("balance", 2, ("'market.example' is not a URL", "mend: write it like https"), {"GRIDBAY_URL": "market.example"}),
    "a URL of another kind": Typed("balance", 2, ("is not a URL",), {"GRIDBAY_URL": "ftp://market.example"}),
    "a URL without a host": Typed("balance", 2, ("is not a URL",), {"GRIDBAY_URL": "https://"}),
    "a URL with half a bracket": Typed("balance", 2, ("is not a URL",), {"GRIDBAY_URL": "http://[::1"}),
    "a URL with a port in words": Typed("balance", 2, ("is not a URL",), {"GRIDBAY_URL": "http://x:port"}),
    "a market that is away": Typed("balance", 3, ("does not answer", "mend: check the URL"), {"GRIDBAY_URL": "http://127.0.0.1:9"}),
    "a URL without a token": Typed("balance", 2, ("set both GRIDBAY_URL and GRIDBAY_TOKEN",), {"GRIDBAY_TOKEN": ""}),
    "a provider's price in words": Typed("provider price set cheap", 2, ("'cheap' is not an amount",)),
    "a thousand and one invitations": Typed("provider invite --uses 1001", 2, ("--uses",)),
}  # fmt: skip


def write(name: str, content: str | bytes, mode: int = 0o600) -> Callable[[Path], object]:
    def before(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    return before


def link(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


ACCOUNT = "home/gridbay/account.json"
NO_ENV = {"GRIDBAY_URL": "", "GRIDBAY_TOKEN": ""}
SEND = "run --workdir . -- true"

FILES: Mapping[str, Typed] = {
    "a login that is no JSON": Typed("balance", 2, ("is not a login", "mend: remove it"), NO_ENV, before=write(ACCOUNT, "{")),
    "a login that is a list": Typed("balance", 2, ("is not a login",), NO_ENV, before=write(ACCOUNT, "[]")),
    "a login with other fields": Typed("balance", 2, ("is not a login",), NO_ENV, before=write(ACCOUNT, '{"server": 1}')),
    "a login whose URL is a number": Typed("balance", 2, ("is not a login",), NO_ENV, before=write(ACCOUNT, '{"url": 5, "customer": "x"}')),
    "a login that is no text": Typed("balance", 2, ("is not a login",), NO_ENV, before=write(ACCOUNT, b"\xff\xfe")),
    "a login that others can read": Typed("balance", 2, ("can be read by others", "mend: chmod 600"), NO_ENV, before=write(ACCOUNT, "{}", 0o644)),
    "a login that is a folder": Typed("balance", 1, ("Is a directory",), NO_ENV, before=lambda folder: (folder / ACCOUNT).mkdir(parents=True)),
    "no login": Typed("balance", 1, ("you are not logged in", "mend: gridbay login --url"), NO_ENV),
    "a job file that is not there": Typed("run job.yaml", 2, ("job.yaml cannot be read: No such file",)),
    "a job file that is a folder": Typed("run .", 2, ("cannot be read: Is a directory",)),
    "a device as a job file": Typed("run /dev/zero", 2, ("has more than 256 kB",)),
    "a receipt that is not there": Typed("receipt verify r.json", 2, ("r.json cannot be read: No such file",)),
    "a receipt that is a folder": Typed("receipt verify .", 2, ("cannot be read: Is a directory",)),
    "a receipt that is empty": Typed("receipt verify r.json", 2, ("r.json is no receipt", "mend: gridbay receipt get"), before=write("r.json", "")),
    "a receipt that is a list": Typed("receipt verify r.json", 2, ("r.json is no receipt",), before=write("r.json", "[]")),
    "a receipt that is binary": Typed("receipt verify r.json", 2, ("r.json is no receipt",), before=write("r.json", b"\xff\x00")),
    "a receipt of another kind": Typed("receipt verify r.json", 2, ("r.json is no receipt, at /",), before=write("r.json", '{"format": "x"}')),
    "a receipt without end": Typed("receipt verify /dev/zero", 2, ("is too large for a receipt",)),
    "a folder that is not there": Typed("run --workdir nowhere -- true", 2, ("--workdir: nowhere is not a folder",)),
    "a folder that is a file": Typed("run --workdir f -- true", 2, ("--workdir: f is not a folder",), before=write("f", "x")),
    "a link that leads out": Typed(SEND, 2, ("l is a link that leads to /etc", "mend: copy what it points to"), before=link("l", "/etc")),
    "a link to itself": Typed(SEND, 2, ("l is a link that leads to itself", "mend:"), before=link("l", "l")),
    "a pipe in the folder": Typed(SEND, 2, ("p is neither a file nor a folder",), before=lambda folder: __import__("os").mkfifo(folder / "p")),
    "rules that are no text": Typed(SEND, 2, (".gridbayignore is not text in UTF-8",), before=write(".gridbayignore", b"\xff")),
    "rules that are none": Typed(SEND, 2, (".gridbayignore:", "mend: write it like a .gitignore"), before=write(".gridbayignore", "a\n!\n")),
}  # fmt: skip

HTML = b"<html><body>Welcome to nginx!</body></html>"

MARKETS: Mapping[str, tuple[str, Answer, int, tuple[str, ...]]] = {
    "a page": ("balance", Answer(HTML, 200, {"Content-Type": "text/html"}), 3, ("not as a market does", "mend: check the URL", "code: not_a_market")),
    "a page that is missing": ("balance", Answer(HTML, 404), 3, ("answered 404", "code: not_a_market")),
    "a page that moved": ("balance", Answer(b"", 301, {"Location": "http://elsewhere"}), 3, ("answered 301",)),
    "nothing": ("balance", Answer(b"", 200), 3, ("code: not_a_market",)),
    "another JSON": ("balance", Answer(b'{"hello": 1}', 200), 3, ("code: not_a_market",)),
    "a list": ("jobs", Answer(b"[]", 200), 3, ("code: not_a_market",)),
    "half a JSON": ("jobs show job_x", Answer(b'{"job_id": "x"', 200), 3, ("code: not_a_market",)),
    "no UTF-8": ("offers", Answer(b"\xff\xfe", 200), 3, ("code: not_a_market",)),
    "what is not gzip": ("balance", Answer(b"not gzip", 200, {"Content-Encoding": "gzip"}), 3, ("code: not_a_market",)),
    "outputs of another shape": ("outputs job_x", Answer(b'{"items": []}', 200), 3, ("code: not_a_market",)),
    "outputs that climb": ("outputs job_x --download out", Answer(b'[{"path": "../x", "size_bytes": 1, "sha256": "x", "url": "http://x"}]', 200), 2, ("leaves the folder",)),
    "secrets of another shape": ("secrets list", Answer(b'{"names": 5}', 200), 3, ("code: not_a_market",)),
    "nodes of another shape": ("provider status", Answer(b'{"items": [{}]}', 200), 3, ("code: not_a_market",)),
    "an overview of another shape": ("admin overview", Answer(b"[1]", 200), 3, ("code: not_a_market",)),
    "a log of another shape": ("logs job_x", Answer(b'{"log": "x"}', 200), 3, ("code: not_a_market",)),
    "a log's event that is none": ("logs job_x", Answer(events=[b"event: log\nid: x\ndata: {}\n\n"]), 3, ("code: not_a_market",)),
    "a refusal": ("balance", problem(403, "forbidden", "this token lacks the scope", request_id="req_1"), 1, ("refused: this token", "mend: use a token", "code: forbidden, request req_1")),
    "a refusal that steers the terminal": ("balance", problem(403, "forbidden", "a\x1b[2Jb\x07", remedy="c\x1b]0;x\x07"), 1, ("a␛[2Jb", "c␛]0;x")),
    "a wrong token": ("balance", problem(401, "unauthenticated", "this token is unknown here"), 1, ("this token is unknown here", "gridbay login", "code: unauthenticated")),
    "a fault of the market's": ("balance", problem(500, "internal", "something went wrong here", request_id="req_2"), 3, ("request req_2",)),
    "a refusal of next year": ("balance", problem(418, "teapot", "short and stout"), 2, ("short and stout", "code: teapot")),
}  # fmt: skip
"""What is typed, what answers every request, the exit status, what stderr says."""
