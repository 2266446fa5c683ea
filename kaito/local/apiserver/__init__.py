"""The local API server: an object store that behaves like a kube-apiserver. Pure, synchronous, atomic calls.

    server = ApiServer(now=clock, new_uid=source, emulate=(1, 36), admit=[rule])
    server.start()                                   # default, kube-system …
    pods = server.registry.find("", "v1", "pods")    # Resource; StatusError 404 when not served
    server.create(pods, "default", body, field_manager="me", dry_run=False, field_validation="Warn") -> Json
    server.get(pods, "default", "a", subresource="") -> Json          # subresource: status, scale
    server.list(pods, "", label_selector="", field_selector="", limit=0, continue_="") -> Json (a PodList)
    server.update(pods, "default", "a", body, subresource="status") -> Json
    server.patch(pods, "default", "a", body, content_type, subresource="", field_manager="", force=False) -> Json
    server.delete(pods, "default", "a", {"preconditions": {"uid": u}, "gracePeriodSeconds": 0}) -> Json
    server.delete_collection(pods, "default", label_selector="a=b") -> Json
    watch = server.watch(pods, "", resource_version="7", label_selector="", field_selector="", bookmarks=True)
    watch.on_event(wake); watch.take() -> [(type, object)]; watch.add_bookmark(); watch.closed; watch.close()
    server.warnings                                  # of the last call (fieldValidation)
    server.on_commit = record                        # Commit(version, kind, place, old, new) before anyone sees it
    server.load(version, objects); server.dump()     # state over a restart

All raise `StatusError`, whose `.status` is the metav1.Status for the wire and `.code` the HTTP status. Objects are
copied on the way in and out. `admit(operation, resource, old, new)` returns an `Admission`: a refusal, warnings.

Modules: server over core with reads, writes and deletes; registry (what is served), store (objects, versions,
history), watch, selectors, strategy (defaults,
validation, schema, custom), merge_keys with fieldsets and ownership (server-side apply), strategic (merge patch),
collector (owner references, namespaces), scaling, errors.
"""

from kaito.local.apiserver.core import Admission, Admit
from kaito.local.apiserver.errors import StatusError
from kaito.local.apiserver.registry import Resource
from kaito.local.apiserver.server import ApiServer
from kaito.local.apiserver.store import Commit
from kaito.local.apiserver.watch import Watch
from kaito.local.apiserver.writes import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_PATCH",
    "Admission",
    "Admit",
    "ApiServer",
    "Commit",
    "Resource",
    "StatusError",
    "Watch",
]
