"""`gridbay ARGUMENTS` typed in this process, and what came of it."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from typed_command import Ended

from gridbay.cli.main import main


def typed(*arguments: object, stdin: str = "") -> Ended:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
    code = ended.value.code
    return Ended(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
