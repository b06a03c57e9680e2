"""What the codes mean, for people: served at /errors; `python -m portal_api.error_page` writes docs/errors.md."""

import html
import sys
from collections.abc import Iterator, Mapping

from market.error_codes import FIELD_CODES, OF_A_MARKET, OF_THIS_MACHINE, Meaning
from portal_api.problems import STATUSES

INTRODUCTION = """\
Every refusal has a code, a place and a remedy. Over REST it is an RFC 9457 document (`application/problem+json`); in
GraphQL the same members stand in an error's `extensions`; the SDK raises the matching type of `market.errors`; the
command line prints it.

```json
{
  "type": "/errors#invalid_spec",
  "title": "Unprocessable Content",
  "status": 422,
  "code": "invalid_spec",
  "detail": "/spec/resources/gpuu: `gpuu` is unknown; did you mean `gpu`?",
  "remedy": "change what `errors` names, as its `detail` says, and send it again",
  "errors": [
    {
      "source": "body", "pointer": "/spec/resources/gpuu", "parameter": "",
      "code": "unknown_field", "detail": "`gpuu` is unknown; did you mean `gpu`?", "suggestion": "gpu"
    }
  ],
  "request_id": "req_01KADZ3V3B0000000000000001"
}
```

`code` is stable; `type` leads here. `pointer` is an RFC 6901 JSON pointer into the body; for a parameter, a header
or a part of the path, `source` says which and `parameter` is its name. `suggestion` can stand for what is there.
What belongs to somebody else is answered exactly as what never was. A refused request has changed nothing, and its
Idempotency-Key stays free.
"""

COMMAND_LINE = """\
A wrong job.yaml is shown with file, line, column, the line itself and a caret; every fault at once. Exit statuses:

| status | meaning |
| --- | --- |
| 0 | well |
| 1 | refused, or something on this machine is in the way |
| 2 | wrong usage: an option, job.yaml, a file that is not what it should be |
| 3 | not now: no answer from the market, or not ready yet |
| 130 | interrupted |
| the job's own | `gridbay run`, once the job has run |

A fault of the command line's own is one line that names a file with everything about it; never a traceback.
"""


def markdown() -> str:
    """docs/errors.md."""
    return "\n".join(_markdown())


def page() -> str:
    """The same as HTML, with an anchor for each code. Plain: our pages load nothing and run nothing."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>Gridbay: errors</title><h1>Errors</h1><dl>"]
    for code, meaning in OF_A_MARKET.items():
        parts.append(
            f"<dt id={html.escape(code)}><code>{html.escape(code)}</code> ({STATUSES[meaning.kind]})</dt>"
            f"<dd>{html.escape(meaning.means)} <em>{html.escape(meaning.remedy)}</em></dd>"
        )
    parts.append("</dl><h2>Codes of places</h2><dl>")
    parts += [
        f"<dt><code>{html.escape(code)}</code></dt><dd>{html.escape(means)}</dd>" for code, means in FIELD_CODES.items()
    ]
    return "".join([*parts, "</dl></html>"])


def _markdown() -> Iterator[str]:
    yield "<!-- Written by `python -m portal_api.error_page > docs/errors.md` from market/error_codes.py. -->"
    yield "# Errors\n"
    yield INTRODUCTION
    yield "## What a market answers\n"
    yield from _table(OF_A_MARKET, statuses=True)
    yield "\n## The codes of single places\n"
    yield "| code | meaning |\n| --- | --- |"
    yield from (f"| `{code}` | {means} |" for code, means in FIELD_CODES.items())
    yield "\n## The command line\n"
    yield COMMAND_LINE
    yield "What the command line, the SDK and the agent say by themselves:\n"
    yield from _table(OF_THIS_MACHINE, statuses=False)
    yield ""


def _table(codes: Mapping[str, Meaning], *, statuses: bool) -> Iterator[str]:
    yield (
        "| code | HTTP | meaning | remedy |\n| --- | --- | --- | --- |"
        if statuses
        else ("| code | meaning | remedy |\n| --- | --- | --- |")
    )
    for code, meaning in codes.items():
        status = f"{STATUSES[meaning.kind]} | " if statuses else ""
        yield f'| <a id="{code}"></a>`{code}` | {status}{meaning.means} | {meaning.remedy} |'


if __name__ == "__main__":
    sys.stdout.write(markdown())
