"""Small trees of real programs, handed by name to the markets that the tests start."""

import sys
from collections.abc import Mapping

from gridbay.standalone.children import Child, Tree
from gridbay.standalone.state import MarketState
from gridbay.standalone.tree import server_children
from infra.embedded.probe import http_probe

SECRET = "correct-horse-battery-staple"
TICK = "import time\nwhile True: time.sleep(0.05)"
# A daemon in the old style: a session of its own, no parent, no environment, no working directory of ours. Only its
# command line speaks of the state folder, so that the test can find it.
DAEMON = """
import pathlib, subprocess
sleep = ["python3", "-c", "import time; time.sleep(1000)", f"daemon of {pathlib.Path.cwd()}"]
subprocess.Popen(["setsid", "-f", "env", "-i", *sleep], cwd="/")
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + TICK


def servers(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """The two real servers, and a program that makes a daemon of the worst kind."""
    return Tree((*server_children(state, ports), _program("daemon", state, DAEMON + TICK)))


def ordered(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """A web server that is ready late, a task after it, a program after that; each notes its start and its end."""
    note = (
        f"import atexit, signal, sys, time\npause = 0\nnotes = open({str(state.root / 'notes')!r}, 'a', buffering=1)\n"
    )
    note += "signal.signal(signal.SIGTERM, lambda *_: sys.exit(time.sleep(pause)))\n"
    late = "import time, http.server\ntime.sleep(0.3)\n"
    where = f"port={ports['api']}, bind='127.0.0.1', protocol='HTTP/1.1'"
    serve = f"http.server.test(http.server.SimpleHTTPRequestHandler, {where})\n"

    def noting(name: str, program: str, **rest: object) -> Child:
        noted = f"{note}print('{name} starts', file=notes)\natexit.register(lambda: print('{name} ends', file=notes))\n"
        return _program(name, state, noted + program, **rest)

    web = noting("web", late + "print('web answers', file=notes)\n" + serve, probe=http_probe(ports["api"], "/"))
    return Tree(
        (
            web,
            noting("task", "", needs=("web",), one_shot=True),
            noting("last", "pause = 0.3\n" + TICK, needs=("web", "task")),
        )
    )


def failing(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """A program that is fine, and one that cannot start and says a secret."""
    talks = "for n in range(30): print('line', n, flush=True)\n" + f"import sys; sys.exit('no way in with {SECRET}')"
    return Tree(
        (_program("fine", state, TICK), _program("broken", state, talks, steady_seconds=5.0)), secrets=(SECRET,)
    )


def late(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """A program that never answers its probe."""
    return Tree((_program("silent", state, TICK, probe=http_probe(ports["api"], "/"), ready_seconds=0.5),))


def stubborn(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """A program that does not listen to SIGTERM."""
    return Tree((_program("stubborn", state, STUBBORN, stop_seconds=0.3),))


def deaf_for_long(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """The same, and it is waited for."""
    return Tree((_program("stubborn", state, STUBBORN, stop_seconds=20.0),))


def mortal(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """A program that lives a moment, again and again."""
    return Tree((_program("mortal", state, "print('a short life', flush=True)"),))


def _program(name: str, state: MarketState, program: str, **rest: object) -> Child:
    argv = (sys.executable, "-P", "-c", program)
    return Child(name=name, argv=argv, env={"PATH": "/usr/bin:/bin"}, cwd=state.root, **rest)  # type: ignore[arg-type]
