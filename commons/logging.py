"""One log, of events with fields: readable on a terminal, JSON lines for machines."""

import logging
import sys

import structlog

from commons.settings import Settings


def configure(settings: Settings) -> None:
    """Send every log line, the libraries' included, to stderr in one format."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if settings.log_json
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(message)s")
