"""A container's environment: its own variables over the few of the host that a local process needs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from kaito.api.meta import Json
from kaito.local.kubelet.references import Reference

REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
# What a process of the host needs to find its interpreter, the network and its caches.
INHERITED = re.compile(
    r"PATH|LANG|LC_\w+|TZ|(?:https?|no|all)_proxy|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|HF_\w+|"
    r"HUGGING_FACE_\w+|LD_LIBRARY_PATH|OMP_NUM_THREADS|SYSTEMROOT|VIRTUAL_ENV|CUDA_VISIBLE_DEVICES",
    re.IGNORECASE,
)

ReadReference: TypeAlias = Callable[[Reference], Awaitable[dict[str, bytes] | None]]


class ConfigError(Exception):
    """A container cannot be created from its spec: CreateContainerConfigError, in the kubelet's words."""


def inherited(host: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in host.items() if INHERITED.fullmatch(name)}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` by its value; `$$` is a dollar; an unknown name stays as it is written."""

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        return variables.get(found[1], found[0])

    return REFERENCE.sub(value, text)


async def variables_of(container: Json, pod: Json, read: ReadReference, *, address: str) -> dict[str, str]:
    """The container's variables in order, later ones seeing earlier ones. Raises ConfigError."""
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix") or ""
        values = await _whole(source, read)
        variables |= {prefix + key: value.decode(errors="replace") for key, value in values.items()}
    for variable in container.get("env") or []:
        name = variable["name"]
        if (value_from := variable.get("valueFrom")) is not None:
            value = await _value_from(value_from, container, pod, read, address)
            if value is not None:
                variables[name] = value
        else:
            variables[name] = expand(str(variable.get("value") or ""), variables)
    return variables


async def _whole(source: Json, read: ReadReference) -> dict[str, bytes]:
    for field, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
        if found := source.get(field):
            values = await read(Reference(kind, found["name"]))  # type: ignore[arg-type]
            if values is None and not found.get("optional"):
                raise ConfigError(f'{kind} "{found["name"]}" not found')
            return values or {}
    return {}


async def _value_from(value_from: Json, container: Json, pod: Json, read: ReadReference, address: str) -> str | None:
    """The value, or None where an optional reference has none."""
    if field := value_from.get("fieldRef"):
        return field_value(field["fieldPath"], pod, address)
    if resource := value_from.get("resourceFieldRef"):
        return _resource_value(resource, container)
    for key_field, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
        if found := value_from.get(key_field):
            values = await read(Reference(kind, found["name"], found["key"]))  # type: ignore[arg-type]
            if values is None and not found.get("optional"):
                raise ConfigError(f'{kind} "{found["name"]}" not found')
            if found["key"] not in (values or {}):
                if found.get("optional"):
                    return None
                named = "ConfigMap" if kind == "configmap" else "Secret"
                raise ConfigError(f"couldn't find key {found['key']} in {named} {found['name']}")
            return (values or {})[found["key"]].decode(errors="replace")
    raise ConfigError(f"unknown source of a variable: {', '.join(value_from)}")


def field_value(path: str, pod: Json, address: str) -> str:
    """The downward API. Raises ConfigError for a field that it does not have."""
    meta, spec = pod["metadata"], pod["spec"]
    if found := SUBSCRIPT.fullmatch(path):
        return str((meta.get(found[1]) or {}).get(found[2], ""))
    fields: dict[str, str] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": address,
        "status.podIPs": address,
        "status.hostIP": "127.0.0.1",
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return fields[path]


def _resource_value(resource: Json, container: Json) -> str:
    """A limit or request as it is written: `limits.nvidia.com/gpu`; 0 where there is none."""
    kind, _, name = resource["resource"].partition(".")
    return str(((container.get("resources") or {}).get(kind) or {}).get(name, "0"))
