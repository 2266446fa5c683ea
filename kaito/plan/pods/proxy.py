"""The way out: where the operator was given a proxy, the pods that it makes use the same one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kaito.api.meta import Json

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# Pods and Services are never reached through it, whatever the operator's own NO_PROXY says.
INSIDE = ("localhost", "127.0.0.1", ".svc", ".cluster.local")


def proxy_variables(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The three variables as pods are to have them, from an environment that may write them small; none without one."""
    given = {name: environ.get(name.lower()) or environ.get(name) or "" for name in VARIABLES}
    if not (given["HTTP_PROXY"] or given["HTTPS_PROXY"]):
        return ()
    outside = [part.strip() for part in given["NO_PROXY"].split(",") if part.strip()]
    given["NO_PROXY"] = ",".join(dict.fromkeys((*outside, *INSIDE)))
    return tuple((name, value) for name, value in given.items() if value)


def behind_proxy(workload: Json, variables: Iterable[tuple[str, str]]) -> Json:
    """The workload with the variables in each of its containers, small as well: programs read one or the other."""
    both = [{"name": spelt, "value": value} for name, value in variables for spelt in (name, name.lower())]
    if not both:
        return workload
    template = workload["spec"]["template"]
    pod = {
        key: [one | {"env": [*one.get("env", ()), *both]} for one in value]
        if key in ("containers", "initContainers")
        else value
        for key, value in template["spec"].items()
    }
    return workload | {"spec": workload["spec"] | {"template": template | {"spec": pod}}}
