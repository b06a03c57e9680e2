"""Logs: one JSON object a line on standard error, with the context that was bound to the work at hand."""

import logging
import re
import sys
from typing import Any

import structlog

TRACEBACK_FRAMES_MAX = 20
WITHHELD = "[withheld]"
# A token of ours, the password in an address, what gives a signed URL its right, and whatever is called a secret.
WITHHELD_TEXT = re.compile(
    r"""("(?:authorization|cookie|password|secrets?|token)":\ "|\bgb[a-z]_|\b[Bb]earer\ |://[^/\s:@"]*:(?=[^\s/@"]*@)"""
    r"""|[?&](?:signature|sig|X-Amz-Signature|token)=)[^\s@&"']+"""
)


def current_trace() -> str | None:
    """The request behind the work at hand: bound by the portal, then by deliveries and tasks."""
    bound = structlog.contextvars.get_contextvars()
    found = bound.get("trace") or bound.get("request_id")
    return found if isinstance(found, str) else None


def withhold(_: object, __: str, line: Any) -> str:
    """Credentials, signatures of URLs and passwords in addresses never reach a log, whoever wrote the line."""
    return WITHHELD_TEXT.sub(rf"\1{WITHHELD}", line)


def known_only(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A line says what is known, and not what is not."""
    return {name: value for name, value in event.items() if value is not None}


def configure_logging(process: str, level: str = "INFO") -> None:
    """Send structlog and the standard library's logging to standard error as JSON lines of this process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # What is below the level costs nothing: no context is merged for it.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Never the frames' locals: credentials and customers' secrets live there.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=TRACEBACK_FRAMES_MAX)
            ),
            known_only,
            structlog.processors.JSONRenderer(),
            withhold,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)
