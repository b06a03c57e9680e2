"""Tools of the machine that a test stands on."""

import os
import shutil

import pytest


def tool(*names: str) -> str:
    """The path of the first of these commands. Without any the test is skipped, or, with
    GRIDBAY_REQUIRE_TOOLS (CI), fails."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        absent = f"no {' or '.join(names)} here; infra/ci/machine.sh installs it"
        if os.environ.get("GRIDBAY_REQUIRE_TOOLS"):
            pytest.fail(absent)
        pytest.skip(absent)
    return found
