"""Wrong job.yaml files: the text, and every fault as "line:column: how it begins"."""

from collections.abc import Mapping

Wrong = tuple[str | bytes, list[str]]

NO_MAPPING = "1:1: a job is a mapping of fields"
TAG = "a tag (`!...`) means nothing in a job"

NO_YAML: Mapping[str, Wrong] = {
    "an empty file": ("", [NO_MAPPING]),
    "only a comment": ("# nothing\n", [NO_MAPPING]),
    "a text": ("just text\n", [NO_MAPPING]),
    "a number": ("5\n", [NO_MAPPING]),
    "a list": ("- run: x\n", [NO_MAPPING]),
    "two documents": ("run: x\n---\nrun: y\n", ["2:1: a job is one document"]),
    "a tab": ("run: x\nenv:\n\tA: 1\n", ["3:1: found character '\\t' that cannot start any token: indent with spaces"]),
    "a quote without end": ("run: 'x\nname: y\n", ["3:1: found unexpected end of stream"]),
    "a bracket without end": ("run: x\nsecrets: [A, B\n", ["3:1: expected ',' or ']'"]),
    "a mapping in a line": ("run: x: y\n", ["1:7: mapping values are not allowed here"]),
    "an indent too many": ("run: x\n  name: y\n", ["2:7: mapping values are not allowed here"]),
    "a key twice": ("run: a\nrun: b\n", ['2:1: found duplicate key "run"']),
    "a key twice inside": ("run: x\nenv: {A: 1, A: 2}\n", ['2:13: found duplicate key "A"']),
    "an alias of nothing": ("run: *command\n", ["1:6: found undefined alias 'command'"]),
    "an at sign": ("@run: x\n", ["1:1: found character '@' that cannot start any token"]),
    "a control character": ("name: x\nrun: a\x01b\n", ["2:7: the character U+0001 is not possible in YAML"]),
    "another version of YAML": ("%YAML 9.9\n---\nrun: x\n", ["1:1: found incompatible YAML document"]),
    "Latin-1": (b"# ok\nrun: caf\xe9\n", ["2:9: this is not UTF-8"]),
    "UTF-16": ("run: x\n".encode("utf-16"), ["1:1: this is not UTF-8"]),
    "binary": (b"\x7fELF\x02\x01\x01\x00", ["1:1: the character U+007F"]),
}

BOMBS: Mapping[str, Wrong] = {
    "a million laughs": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True))
        + "run: x\n",
        ["1:1: this unfolds to more than 20000 values"],
    ),
    "a list a thousand deep": ("run: " + "[" * 1000 + "]" * 1000, ["is nested too deeply"]),
    "forty lists in each other": ("run: " + "[" * 40 + "]" * 40, ["1:6: this is nested more than 30 levels deep"]),
    "a list within itself": ("run: &a [*a]\n", ["1:6: a list stands here; write text"]),
    "a megabyte": ("run: x #" + "x" * 1_000_000, ["has more than 256 kB"]),
    "a Python object": ("run: !!python/object:os.system x\n", [f"1:6: {TAG}"]),
    "a tag of one's own": ("run: x\nname: !mine y\n", [f"2:7: {TAG}"]),
    "binary data": ("run: !!binary AAAA\n", [f"1:6: {TAG}"]),
    "a set": ("run: x\nenv: !!set {A, B}\n", [f"2:6: {TAG}"]),
    "a hundred and one variables": (
        "run: x\nenv:\n" + "".join(f"  A{n}: x\n" for n in range(101)), ["3:3: it must have at most 100 items"]
    ),
    "a thousand unknown fields": ("run: x\n" + "".join(f"f{n}: x\n" for n in range(1000)), ["2:1: `f0` is unknown"] ),
}  # fmt: skip

FIELDS: Mapping[str, Wrong] = {
    "no command": ("name: x\n", ["1:1: `run` is missing"]),
    "a mistyped field": ("runn: x\nrun: y\n", ["1:1: `runn` is unknown; did you mean `run`?"]),
    "a mistyped field inside": ("run: x\nresources:\n  memroy: 4GB\n", ["3:3: `memroy` is unknown; did you mean `memory`?"]),
    "a field in capitals": ("Run: x\nrun: y\n", ["1:1: `Run` is unknown; did you mean `run`?"]),
    "a field with Cyrillic letters": ("run: x\nn\u0430me: y\n", ["2:1: `n\u0430me` is unknown; did you mean `name`?"]),
    "a field nothing is near to": ("run: x\nxyzzy: 1\n", ["2:1: `xyzzy` is unknown; known here: apiVersion, kind, name, run"]),
    "a field of an output": ("run: x\noutputs:\n  - pth: a\n", ["3:5: `path` is missing", "3:5: `pth` is unknown; did you mean `path`?"]),
    "a field that comes by a merge": ("x: &x {gpuu: 1}\nrun: a\nresources:\n  <<: *x\n", ["1:1: `x` is unknown", "4:3: `gpuu` is unknown; did you mean `gpu`?"]),
    "a field that is not there yet": ("run: x\nimage: ubuntu\n", ["2:1: `image` is not available yet; remove it"]),
    "a resource that is not there yet": ("run: x\nresources: {nodes: 2}\n", ["2:13: `nodes` is not available yet; remove it"]),
    "a service": ("run: x\nkind: service\n", ["2:7: `kind: service` is not available yet; use `kind: job`"]),
    "a mistyped kind": ("run: x\nkind: jbo\n", ["2:7: `jbo` is not possible here; did you mean `job`?"]),
    "another version": ("apiVersion: gridbay/v2\nrun: x\n", ["1:13: `gridbay/v2` is not possible here; did you mean `gridbay/v1`?"]),
    "a mistyped reason to retry": ("run: x\nretry:\n  on: [failur]\n", ["3:8: `failur` is not possible here; did you mean `failure`?"]),
    "no attempt": ("run: x\nretry: {max_attempts: 0}\n", ["2:23: it must be greater than or equal to 1"]),
    "attempts in words": ("run: x\nretry: {max_attempts: three}\n", ["2:23: `three` (text) stands here; write a whole number"]),
    "a command that is true": ("run: true\n", ["1:6: `true` (true or false) stands here; write text, in quotes"]),
    "a command that is a number": ("run: 5\n", ["1:6: `5` (a number) stands here; write text, in quotes"]),
    "a command that is nothing": ("run:\n", ["1:1: nothing stands here; write text, in quotes"]),
    "a command in a list": ("run: [python, train.py]\n", ["1:6: a list stands here; write text, in quotes"]),
    "an empty command": ("run: ''\n", ["1:6: it must have at least 1 character"]),
    "a command with NUL": ('run: "a\\0b"\n', ["1:6: it holds a NUL"]),
    "a command with half a character": ('run: "\\ud800"\n', ["1:6: it holds half of a character"]),
    "a name in capitals": ("run: x\nname: Digits\n", ["2:7: write a name in small letters"]),
    "a name that is false": ("run: x\nname: false\n", ["2:7: `false` (true or false) stands here; write text, in quotes"]),
    "a variable that is true": ("run: x\nenv:\n  DEBUG: true\n", ["3:10: `true` (true or false) stands here; write text, in quotes"]),
    "a variable that is a list": ("run: x\nenv:\n  A: [1]\n", ["3:6: a list stands here; write text, in quotes"]),
    "a variable that begins with a digit": ("run: x\nenv: {2B: x}\n", ["2:7: `2B` is not the name of a variable"]),
    "a variable of ours": ("run: x\nenv: {GRIDBAY_X: x}\n", ["2:7: `GRIDBAY_X` is reserved; use another name"]),
    "variables in a list": ("run: x\nenv: [A=1]\n", ["2:6: a list stands here; write a mapping of names to values"]),
    "a name that is a number": ("run: x\nenv: {1: x}\n", ["2:7: `1` (a number) stands here; write text, in quotes"]),
    "a secret in a mapping": ("run: x\nsecrets: {A: x}\n", ["2:10: a mapping stands here; write a list"]),
    "a secret with a dash": ("run: x\nsecrets: [a-b]\n", ["2:11: `a-b` is not the name of a variable"]),
    "resources in a list": ("run: x\nresources:\n  - gpu: 1\n", ["3:3: a list stands here; write a mapping of names to values"]),
    "half a GPU": ("run: x\nresources: {gpu: 0.5}\n", ["2:18: '0.5': shares of a GPU are not available yet"]),
    "a GPU nobody understands": ("run: x\nresources: {gpu: 'H100:80GB:2:3'}\n", ["2:18: 'H100:80GB:2:3': '3' is not understood"]),
    "lots of CPUs": ("run: x\nresources: {cpu: lots}\n", ["2:18: 'lots' is not a number of CPUs"]),
    "CPUs that are no number": ("run: x\nresources: {cpu: .nan}\n", ["2:18: nan is not a number of CPUs"]),
    "memory in GBB": ("run: x\nresources: {memory: 16 GBB}\n", ["2:21: '16 GBB' is not a size: write it like 4GB"]),
    "memory below nothing": ("run: x\nresources: {memory: -4GB}\n", ["2:21: '-4GB' is not a size"]),
    "memory without end": ("run: x\nresources: {memory: .inf}\n", ["2:21: inf is not a size"]),
    "disk of nothing": ("run: x\nresources: {disk: 0}\n", ["2:19: 0 is out of range"]),
    "a truth that is none": ("run: x\nresources: {simulated: perhaps}\n", ["2:24: `perhaps` (text) stands here; write true or false"]),
    "a budget below nothing": ("run: x\nbudget: {max_price: -3}\n", ["2:21: -3 is not an amount of USDC"]),
    "a budget of seven decimals": ("run: x\nbudget: {max_price: 0.1234567}\n", ["2:21: 0.1234567 is not an amount of USDC"]),
    "a budget in dollars": ("run: x\nbudget: {max_total: $5}\n", ["2:21: '$5' is not an amount of USDC"]),
    "a budget beyond all": ("run: x\nbudget: {max_total: 1e300}\n", ["2:21: 1e+300 is not an amount of USDC"]),
    "a duration in weeks": ("run: x\nmax_duration: 3 weeks\n", ["2:15: '3 weeks' is not a duration"]),
    "a duration of a clock": ("run: x\nmax_duration: 1:30\n", ["2:15: '1:30' is not a duration"]),
    "a duration of nothing": ("run: x\nmax_duration: 0\n", ["2:15: 0 is not a duration"]),
    "an output outside": ("run: x\noutputs:\n  - ../x\n", ["3:5: '../x' leaves the working directory"]),
    "an output that is a number": ("run: x\noutputs: [5]\n", ["2:11: `5` (a number) stands here; write a mapping"]),
    "outputs of text": ("run: x\noutputs: a.txt\n", ["2:10: `a.txt` (text) stands here; write a list"]),
    "a folder that is not there": ("run: x\nworkdir: nowhere\n", ["2:10:"]),
    "a folder that is a number": ("run: x\nworkdir: 5\n", ["2:10: `5` (a number) stands here; write text, in quotes"]),
    "Windows' line ends": ("run: x\r\nruun: y\r\n", ["2:1: `ruun` is unknown; did you mean `run`?"]),
    "a byte order mark and a fault": ("\ufeffrun: x\nruun: y\n", ["2:1: `ruun` is unknown; did you mean `run`?"]),
    "everything at once": (
        "name: Digits\nrunn: x\nenv: {2B: x}\nresources: {gpuu: H100, cpu: lots, nodes: 2}\nretry: {on: [everything]}\nbudget: {max_price: -3}\nimage: y\n",
        ["1:1: `run` is missing", "1:7: write a name", "2:1: `runn`", "3:7: `2B`", "4:13: `gpuu`", "4:30: 'lots'", "4:36: `nodes`", "5:14: `everything`", "6:21: -3", "7:1: `image`"],
    ),
}  # fmt: skip

TABLE: Mapping[str, Mapping[str, Wrong]] = {"no yaml": NO_YAML, "bombs": BOMBS, "fields": FIELDS}
