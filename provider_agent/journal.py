"""What the agent writes to its journal (stderr): one line an event, never a secret, never a URL with a right in it.

JSON as the market's own processes write it, but for a person at a terminal.
"""

import logging
import sys

import structlog


def configure(level: str = "INFO") -> None:
    """Set up logging for an agent's process; tests and the command line leave it alone."""
    logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s", force=True)
    # httpx writes every URL at INFO, signed ones too.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
