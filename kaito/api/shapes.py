"""Shapes of what users write without a schema: pod templates and volume sources, as far as something here reads them.

The API server keeps such fields as they are, so that any JSON may stand there. What is no pod template is no Workspace
either: it is told of the field, and never reaches the code that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic_core import PydanticCustomError

from kaito.api.meta import Json
from kaito.api.quantity import parse_quantity

TEXT, AMOUNT, PORT = "a text", "a quantity such as 500m or 16Gi", "a port: a number from 1 to 65535, or its name"
# Fields of an object, items of a list (of one), or one of the words above. Other fields may be anything.
Shape: TypeAlias = "Mapping[str, Shape] | list[Shape] | str"
ANY_FIELD = "*"

TEXTS: Shape = {ANY_FIELD: TEXT}
AMOUNTS: Shape = {ANY_FIELD: AMOUNT}
KEY: Shape = {"name": TEXT, "key": TEXT}
ITEMS: Shape = [{"key": TEXT, "path": TEXT}]
PROBE: Shape = {"httpGet": {"path": TEXT, "port": PORT}, "tcpSocket": {"port": PORT}, "exec": {"command": [TEXT]}}
CONTAINER: Shape = {
    "name": TEXT,
    "image": TEXT,
    "command": [TEXT],
    "args": [TEXT],
    "env": [{"name": TEXT, "value": TEXT, "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY}}],
    "envFrom": [{"secretRef": {"name": TEXT}, "configMapRef": {"name": TEXT}}],
    "ports": [{"name": TEXT, "protocol": TEXT, "containerPort": PORT}],
    "resources": {"requests": AMOUNTS, "limits": AMOUNTS},
    "volumeMounts": [{"name": TEXT, "mountPath": TEXT}],
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "startupProbe": PROBE,
}
SECRET: Shape = {"secretName": TEXT, "name": TEXT, "items": ITEMS}
CONFIG_MAP: Shape = {"name": TEXT, "items": ITEMS}
VOLUME_SOURCE: Mapping[str, Shape] = {
    "persistentVolumeClaim": {"claimName": TEXT},
    "secret": SECRET,
    "configMap": CONFIG_MAP,
    "projected": {"sources": [{"secret": SECRET, "configMap": CONFIG_MAP}]},
    "emptyDir": {},
    "hostPath": {"path": TEXT},
    "image": {"reference": TEXT},
}
POD_TEMPLATE: Shape = {
    "metadata": {"labels": TEXTS, "annotations": TEXTS},
    "spec": {
        "containers": [CONTAINER],
        "initContainers": [CONTAINER],
        "tolerations": [{}],
        "affinity": {},
        "nodeSelector": TEXTS,
        "imagePullSecrets": [{"name": TEXT}],
        "volumes": [{"name": TEXT, **VOLUME_SOURCE}],
    },
}


def pod_template(value: Json) -> Json:
    """The value. Raises PydanticCustomError that names the first field that makes it no pod template."""
    _raise_first(_misfits(value, POD_TEMPLATE, "") or _missing(value))
    return value


def volume_source(value: Json) -> Json:
    """The value. Raises PydanticCustomError that names the first field that makes it no volume source."""
    _raise_first(_misfits(value, VOLUME_SOURCE, ""))
    return value


def _raise_first(found: Iterator[str] | list[str]) -> None:
    for line in found:
        raise PydanticCustomError("shape", "{line}", {"line": line})


def _misfits(value: Any, shape: Shape, path: str) -> list[str]:
    """What does not fit, in order, each as `path: why`; null stands for a field that is not there."""
    if value is None:
        return []
    match shape:
        case str():
            return [] if _is(value, shape) else [f"{path}: expected {shape}, found {_shown(value)}"]
        case list():
            if not isinstance(value, list):
                return [f"{path}: expected a list, found {_shown(value)}"]
            if None in value:
                return [f"{path}[{value.index(None)}]: expected an entry, found null"]
            return [line for index, item in enumerate(value) for line in _misfits(item, shape[0], f"{path}[{index}]")]
        case _:
            return _misfits_of_object(value, shape, path)


def _misfits_of_object(value: Any, shape: Mapping[str, Shape], path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: expected an object, found {_shown(value)}"]
    if ANY_FIELD in shape:
        return [line for key, inner in value.items() for line in _misfits(inner, shape[ANY_FIELD], f"{path}[{key}]")]
    known = ((value[key], inner, f"{path}.{key}" if path else key) for key, inner in shape.items() if key in value)
    return [line for inner, expected, at in known for line in _misfits(inner, expected, at)]


def _missing(template: Json) -> Iterator[str]:
    """What no pod can do without."""
    spec = template.get("spec") or {}
    if not spec.get("containers"):
        yield "spec.containers: missing: a pod has at least one container, with a name and an image"
    for part in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(part) or ()):
            for field in ("name", "image"):
                if not container.get(field):
                    yield f"spec.{part}[{index}].{field}: missing"


def _is(value: object, word: str) -> bool:
    if word == TEXT:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    if word == PORT:
        return isinstance(value, str) or (isinstance(value, int) and 1 <= value <= 65_535)
    try:
        parse_quantity(str(value))
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    """The value as far as it is short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
