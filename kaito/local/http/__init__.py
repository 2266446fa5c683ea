"""The core as a Kubernetes REST API: what kubectl, the operator and any other client of the local cluster speak to.

Modules, outside in: server (listens, and sorts paths), guard (token, Host, Origin, limits, errors), target and query
(what a request names), bodies, protobuf and respond (what goes in and out), resources (verbs), admission with webhooks
and webhook_calls, watches, pod_endpoints (logs, proxy), discovery, openapi with built_in_types, tables with columns,
pod_columns, jsonpath and durations.
"""

from kaito.local.http.server import serve

__all__ = ["serve"]
