"""`gridbay provider join`: the checklist, then the listing."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli.agent_state import RuntimeOption, StateOption, agent_state
from gridbay.cli.extras import need_agent
from gridbay.cli.session import open_session, tell_retry
from gridbay.client.provider import Provider
from market.errors import InvalidInput
from market.money import parse_usdc
from market.resources import parse_cpu, parse_size

with need_agent():
    from gridbay.cli.checklist import go_through, job_runtime_here
    from provider_agent.checklist import Checklist, Subject
    from provider_agent.join import Offering, checked_url, join

app = typer.Typer()
EXIT_FAILED_CHECK = 1


@app.command()
def join_market(
    *,
    portal: Annotated[str | None, typer.Option("--portal", help="The market's address.", show_default=False)] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="GRIDBAY_JOIN_TOKEN", help="gbj_...; a logged-in provider needs none."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The node's name; else the host's.")] = None,
    simulate: Annotated[
        str | None, typer.Option("--simulate", help="Pretend GPUs, such as H100:2; they earn nothing.")
    ] = None,
    gpu_price: Annotated[str | None, typer.Option("--gpu-price", help="USDC for a GPU and hour.")] = None,
    cpu_price: Annotated[str | None, typer.Option("--cpu-price", help="USDC for a CPU and hour.")] = None,
    cpus: Annotated[str | None, typer.Option("--cpus", help="Offer no more CPUs than that.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Offer no more memory than that.")] = None,
    job_runtime: RuntimeOption = None,
    allow_plain: Annotated[
        bool,
        typer.Option("--allow-plain-sandbox", help="Join without bubblewrap: for your own jobs on your own market."),
    ] = False,
    state: StateOption = None,
) -> None:
    """Check this machine and list it on a market."""
    offering = Offering(
        name=name,
        simulate=simulate,
        cpu_milli=_parsed("--cpus", parse_cpu, cpus),
        memory_bytes=_parsed("--memory", parse_size, memory),
        price_microusd_per_gpu_hour=_parsed("--gpu-price", parse_usdc, gpu_price),
        price_microusd_per_cpu_hour=_parsed("--cpu-price", parse_usdc, cpu_price),
    )
    url, join_token = _where(portal, token)
    folder = agent_state(state)
    checklist = Checklist(
        Subject(
            folder,
            portal_url=url,
            simulate=simulate,
            job_runtime=job_runtime or job_runtime_here(),
            allow_plain_sandbox=allow_plain,
        )
    )
    if not go_through(checklist) or checklist.sandbox_kind is None:
        print("not joined: mend what failed, then run this again")
        raise typer.Exit(EXIT_FAILED_CHECK)
    answer = join(folder, url, join_token, offering, sandbox=checklist.sandbox_kind)
    for offer in answer.offers:
        print(f"listed: {offer}")
    print(f"this machine is {answer.node_id} of {answer.provider_id}")
    print(f"now run its agent: gridbay provider run --state {folder}")


def _where(portal: str | None, token: str | None) -> tuple[str, str]:
    """The market and a join token: as said, or made with the login of a provider."""
    if portal is not None and token is not None:
        return checked_url(portal), token
    session = open_session("provider")
    url = checked_url(portal or session.account.url)
    if token is not None:
        return url, token
    if url != session.account.url:
        # The stored token is for another market.
        raise InvalidInput(f"you are logged in at {session.account.url}, not at {url}", remedy="name the --token too")
    with Provider(url, session.token("provider"), on_retry=tell_retry) as provider:
        return url, provider.create_join_token().token


def _parsed(option: str, parse: Callable[[str], int], text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from None
