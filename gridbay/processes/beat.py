"""Celery beat: sends each periodic task at its interval; tasks read the truth themselves, so a lost tick is nothing."""

import tempfile
from pathlib import Path

import structlog

from gridbay.processes.contexts import TASKS
from infra.bus.tasks import app
from infra.ground import ground
from infra.logging import configure_logging
from infra.telemetry import serve

log = structlog.get_logger(__name__)


def main() -> None:
    """Tick until told to stop. The schedule file is scratch: every interval begins anew at a start."""
    level = ground().settings.log_level
    configure_logging("beat", level)
    serve(ground().settings.metrics_bind)
    log.info("ticking", task_modules=len(TASKS))
    with tempfile.TemporaryDirectory(prefix="gridbay-beat-") as folder:
        app.Beat(loglevel="WARNING", schedule=str(Path(folder) / "schedule"), quiet=True).run()
