"""The query parameters of the Kubernetes API, with what is wrong with them in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from kaito.api.meta import Json
from kaito.clock import parse_rfc3339
from kaito.local.apiserver import StatusError
from kaito.local.apiserver.errors import bad_request
from kaito.local.kubelet.logs import LogRequest

VALIDATIONS = ("Ignore", "Warn", "Strict")
MANAGER_CHARS_MAX = 128
Query = Mapping[str, str]


def flag(query: Query, name: str) -> bool:
    """Whether it is set, as Go reads truth: `?watch`, `?watch=1`, `?watch=true`."""
    return name in query and query[name].lower() not in ("0", "f", "false")


def number(query: Query, name: str) -> int | None:
    """A whole number of at least 0; None where it is not given. Raises StatusError 400."""
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise bad_request(f'{name}: Invalid value: "{text}": must be a whole number of at least 0')
    return int(text)


def is_dry_run(query: Query) -> bool:
    """Raises StatusError 422 for anything but `All`."""
    asked = query.get("dryRun", "")
    if asked not in ("", "All"):
        raise StatusError(422, "Invalid", f'dryRun: Unsupported value: "{asked}": supported values: "All"')
    return bool(asked)


def field_validation(query: Query) -> str:
    asked = query.get("fieldValidation") or "Warn"
    if asked not in VALIDATIONS:
        choices = ", ".join(f'"{choice}"' for choice in VALIDATIONS)
        raise StatusError(422, "Invalid", f'fieldValidation: Unsupported value: "{asked}": supported values: {choices}')
    return asked


def field_manager(query: Query, user_agent: str, *, is_apply: bool = False) -> str:
    """Who writes: the parameter, else what stands before the slash in the user agent. Raises StatusError 422."""
    asked = query.get("fieldManager", "")
    if len(asked) > MANAGER_CHARS_MAX:
        raise StatusError(422, "Invalid", f"fieldManager: Too long: may not be more than {MANAGER_CHARS_MAX} bytes")
    if is_apply and not asked:
        raise StatusError(422, "Invalid", "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is "
                          "required for apply patch")  # fmt: skip
    return asked or user_agent.partition("/")[0][:MANAGER_CHARS_MAX] or "unknown"


def delete_options(query: Query, body: Json) -> Json:
    """DeleteOptions of the body, with those of the query where it is silent."""
    found = dict(body)
    for name in ("propagationPolicy", "orphanDependents", "gracePeriodSeconds"):
        if name in query and name not in found:
            given = number(query, name) if name == "gracePeriodSeconds" else query[name]
            found[name] = flag(query, name) if name == "orphanDependents" else given
    policy = found.get("propagationPolicy")
    if policy not in (None, "Orphan", "Background", "Foreground"):
        raise StatusError(422, "Invalid", f'propagationPolicy: Unsupported value: "{policy}": supported values: '
                          '"Foreground", "Background", "Orphan"')  # fmt: skip
    grace = found.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or grace < 0):
        raise bad_request(f"gracePeriodSeconds: Invalid value: {grace}: must be a whole number of at least 0")
    return found


def log_request(query: Query, now: datetime) -> LogRequest:
    """What of a log is asked for."""
    since: datetime | None = None
    if (seconds := number(query, "sinceSeconds")) is not None:
        since = now - timedelta(seconds=seconds)
    if text := query.get("sinceTime"):
        try:
            since = parse_rfc3339(text)
        except ValueError as error:
            raise bad_request(f'sinceTime: Invalid value: "{text}": {error}') from error
    return LogRequest(
        tail_lines=number(query, "tailLines"),
        since=since,
        has_timestamps=flag(query, "timestamps"),
        is_followed=flag(query, "follow"),
        bytes_max=number(query, "limitBytes"),
    )
