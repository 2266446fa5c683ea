"""Probes of a model server: a start may take as long as its weights are heavy."""

from __future__ import annotations

from math import ceil

from kaito.api.meta import Json
from kaito.plan.ports import SERVER_PORT
from kaito.state.view import ServerCapabilities

PROBE_PERIOD_S = 10
STARTUP_BASE_S = 15 * 60
STARTUP_PER_GIB_S = 18
STARTUP_MIN_S = 30 * 60
STARTUP_MAX_S = 180 * 60


def startup_failures(weights_gib: float) -> int:
    """How many probe periods a start may take: 15 minutes and 18 s per GiB of weights, within 30 and 180 minutes."""
    budget_s = STARTUP_BASE_S + STARTUP_PER_GIB_S * weights_gib
    return ceil(min(max(budget_s, STARTUP_MIN_S), STARTUP_MAX_S) / PROBE_PERIOD_S)


def server_probes(weights_gib: float, *, replicas: int, capabilities: ServerCapabilities) -> Json:
    """The three probes of the container."""
    failures = startup_failures(weights_gib)
    if replicas > 1:
        return _probes_of_many(failures, capabilities)
    return {
        "startupProbe": _http("/ready") | {"periodSeconds": PROBE_PERIOD_S, "failureThreshold": failures},
        "livenessProbe": _http("/health") | {"periodSeconds": PROBE_PERIOD_S, "failureThreshold": 3},
        "readinessProbe": _http("/ready") | {"periodSeconds": PROBE_PERIOD_S},
    }


def _probes_of_many(failures: int, capabilities: ServerCapabilities) -> Json:
    """Only pod 0 serves HTTP: the others are judged by their Ray node."""
    liveness = _exec("/health") | {"periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5, "failureThreshold": 3}
    if capabilities.at_least(25):
        liveness["terminationGracePeriodSeconds"] = 1  # a broken group cannot finish its requests: start over at once
    ready = _exec("/ready") | {"periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5}
    return {
        "startupProbe": ready | {"failureThreshold": failures},
        "livenessProbe": liveness,
        "readinessProbe": ready | {"failureThreshold": 1},
    }


def _http(path: str) -> Json:
    return {"httpGet": {"path": path, "port": SERVER_PORT, "scheme": "HTTP"}}


def _exec(path: str) -> Json:
    url = f"http://${{KAITO_BIND_ADDRESS:-127.0.0.1}}:${{KAITO_BIND_PORT:-{SERVER_PORT}}}{path}"
    leader = f'exec python -c "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=4)" "{url}"'
    worker = "exec ray status"
    script = f'if [ "${{POD_NAME##*-}}" = 0 ]; then {leader}; else {worker}; fi'
    return {"exec": {"command": ["/bin/sh", "-c", script]}}
