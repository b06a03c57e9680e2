"""`gridbay provider run`: the agent in front; on an embedded market it joins by itself first.

Loads no more than the agent needs: its process is to stay small.
"""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from gridbay.cli.agent_state import RuntimeOption, StateOption, agent_state
from gridbay.cli.extras import need_agent
from market.errors import Unauthenticated

with need_agent():
    from gridbay.cli.checklist import job_runtime_here
    from provider_agent import daemon, journal
    from provider_agent.config import StateFolder
    from provider_agent.join import Offering, join
    from provider_agent.sandbox.choice import SandboxConfig, choose

app = typer.Typer()


@app.command()
def run_agent(
    *,
    portal: Annotated[
        str | None, typer.Option("--portal", help="Where the market is now, if not where it was.", show_default=False)
    ] = None,
    job_runtime: RuntimeOption = None,
    allow_plain: Annotated[
        bool, typer.Option("--allow-plain-sandbox", help="Run without bubblewrap: your own jobs on your own market.")
    ] = False,
    state: StateOption = None,
) -> None:
    """Run the agent of a machine that has joined.

    Until SIGTERM or Ctrl-C; jobs run on under their minders, and the next start adopts them.
    """
    journal.configure()
    folder, runtime = agent_state(state), job_runtime or job_runtime_here()
    if os.environ.get("GRIDBAY_EMBEDDED") == "1":
        _run_embedded(folder, runtime)
        return
    options = daemon.Options(
        allow_plain_sandbox=allow_plain,
        job_runtime=runtime,
        portal_url=portal,
        metrics_bind=_metrics_bind(),
        dcgm_url=os.environ.get("GRIDBAY_DCGM_URL"),
    )
    daemon.run(folder, options)


def _metrics_bind() -> str | None:
    return os.environ.get("GRIDBAY_AGENT_METRICS_BIND")


def _run_embedded(folder: Path, runtime: Path | None) -> None:
    """The provider on an embedded market's own machine: no other customer's jobs come here, and none outlives it."""
    options = daemon.Options(
        allow_plain_sandbox=True,
        job_runtime=runtime,
        portal_url=os.environ["GRIDBAY_PUBLIC_URL"],
        end_jobs_on_exit=True,
        metrics_bind=_metrics_bind(),
    )
    if not (StateFolder(folder.absolute()).root / "node.json").exists():
        _join_embedded(folder, options)
    try:
        daemon.run(folder, options)
    except Unauthenticated:
        # The market was made anew and the agent's folder was not: the same node joins again.
        _join_embedded(folder, options)
        daemon.run(folder, options)


def _join_embedded(folder: Path, options: daemon.Options) -> None:
    credentials = json.loads((Path(os.environ["GRIDBAY_STATE_DIR"]) / "credentials.json").read_text())
    StateFolder(folder.absolute()).prepare()
    sandbox = choose(SandboxConfig(options.job_runtime), folder, allow_plain=True).sandbox.kind
    join(folder, os.environ["GRIDBAY_PUBLIC_URL"], credentials["join_token"], Offering(), sandbox=sandbox)
