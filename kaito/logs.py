"""Structured logs: a closed set of event names, past tense; console on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Literal, TextIO

import msgspec
import structlog


class Event(StrEnum):
    OPERATOR_STARTED = "operator started"
    WEBHOOK_STARTED = "webhook started"
    WEBHOOK_NOT_SET_UP = "webhook not set up"
    OPERATOR_STOPPED = "operator stopped"
    LEADERSHIP_AWAITED = "leadership awaited"
    LEADERSHIP_GAINED = "leadership gained"
    LEADERSHIP_LOST = "leadership lost"
    LEASE_FAILED = "lease neither read nor written"
    UNINSTALL_BEGAN = "uninstall began"
    UNINSTALL_DELAYED = "uninstall delayed"
    UNINSTALL_FINISHED = "uninstall finished"
    UNINSTALL_UNFINISHED = "uninstall not finished"
    PLAN_FAILED = "plan failed"
    ROOT_RECONCILED = "root reconciled"
    WATCH_FAILED = "watch failed"
    EXPECTATION_EXPIRED = "expectation expired"
    JOURNAL_WRITTEN = "journal written"
    JOURNAL_FAILED = "journal not written"
    SERVER_CONFIGURED = "server configured"
    FLAGS_UNUSED = "flags unused"
    SERVER_LISTENING = "server listening"
    START_PROGRESSED = "start progressed"
    SERVER_READY = "server ready"
    SERVER_DRAINING = "server draining"
    SERVER_STOPPED = "server stopped"
    SERVER_FAILED = "server failed"
    REQUEST_FAILED = "request failed"
    REQUEST_RECEIVED = "request received"
    ADAPTER_LOADED = "adapter loaded"
    ADAPTER_UNLOADED = "adapter unloaded"
    BENCHMARK_ENDED = "benchmark ended"
    READER_DROPPED = "reader dropped"
    PARSER_UNKNOWN = "parser unknown"
    KEYS_UNREADABLE = "keys unreadable"
    DATASET_LOADED = "dataset loaded"
    TUNING_STARTED = "tuning started"
    TUNING_RESUMED = "tuning resumed"
    TUNING_PROGRESSED = "tuning progressed"
    CHECKPOINT_SAVED = "checkpoint saved"
    TUNING_STOPPED = "tuning stopped"
    TUNING_FAILED = "tuning failed"
    TUNING_COMPLETED = "tuning completed"
    DATA_FETCHED = "data fetched"
    ADAPTER_PUSHED = "adapter pushed"
    CHECKPOINT_KEPT = "checkpoint kept in the registry"
    CHECKPOINT_NOT_KEPT = "checkpoint not kept in the registry"
    CHECKPOINT_RESTORED = "checkpoint restored from the registry"
    IMAGE_PULLED = "image pulled"
    IMAGE_PUSHED = "image pushed"
    STORAGE_DAMAGED = "storage damaged"
    SNAPSHOT_FAILED = "snapshot failed"
    VECTORS_LEFT_BEHIND = "vectors left behind"
    INDEX_OPENED = "index opened"
    INDEX_UNUSABLE = "index unusable"
    GUARDRAILS_LOADED = "guardrails loaded"
    GUARDRAILS_REFUSED = "guardrails refused"
    LLM_RETRIED = "llm retried"
    MODELS_UNKNOWN = "models unknown"


def _json(event: object, **_: object) -> str:
    """A line, its keys in order; what JSON does not know as its repr."""
    return msgspec.json.encode(event, enc_hook=repr, order="sorted").decode()


def set_up_logs(
    form: Literal["auto", "console", "json"] = "auto", level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Configures structlog for the process, to `stream` or standard error. Raises ValueError for an unknown level.

    A line is one write, so that processes that share a pipe do not mix theirs. Standard error is looked up anew for
    each logger: it may be another one by then.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r}: choose debug, info, warning or error")
    is_console = form == "console" or (form == "auto" and (stream or sys.stderr).isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.WriteLogger(stream or sys.stderr),
    )
