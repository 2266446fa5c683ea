"""JSON merge patches (RFC 7386), and what `kubectl apply` leaves of an object, heeding what was written there last."""

from __future__ import annotations

import json
from typing import Any

from kaito.api.meta import Json

LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def merged(base: Json, patch: Json) -> Json:
    """`base` with the patch in it: maps key by key, nulls remove, everything else replaces."""
    found = dict(base)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            below = found.get(key)
            found[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            found[key] = value
    return found


def applied(live: Json, written: Json) -> Json:
    """The object after `kubectl apply`: what is written, over what is there, without what was written before and now
    is not. Lists are replaced as a whole, as for every custom resource.
    """
    return merged(_without(live, last_applied(live), written), written)


def last_applied(live: Json) -> Json:
    """What `kubectl apply` wrote last; empty where it did not make the object."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED_ANNOTATION)
    try:
        found: Any = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _without(live: Json, before: Json, written: Json) -> Json:
    found = dict(live)
    for key, value in before.items():
        if key not in written:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(written[key], dict) and isinstance(live.get(key), dict):
            found[key] = _without(live[key], value, written[key])
    return found
