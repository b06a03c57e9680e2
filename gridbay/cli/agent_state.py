"""Where a provider's agent keeps its state on this machine."""

from pathlib import Path
from typing import Annotated

import platformdirs
import typer

StateOption = Annotated[
    Path | None, typer.Option("--state", help="The agent's folder: its key, its work.", show_default=False)
]
RuntimeOption = Annotated[
    Path | None,
    typer.Option("--job-runtime", help="The Python environment that jobs find.", show_default=False),
]


def agent_state(state: Path | None) -> Path:
    return state or Path(platformdirs.user_data_dir("gridbay")) / "agent"
