"""Files that come in container images or OCI artifacts: pulled by an init container, or mounted as an image volume.

The init container is `python -m kaito.oci pull` of the very image that the pod's server runs, so that the node pulls
nothing more for it. It needs no shell in the image that it pulls, and reads artifacts that are not made of tar layers.
An image volume saves the copy, where server and nodes can.

Nobody says whether the feature gate is on (the field is in every schema), but from 1.35 on it is by default; and nodes
say which runtime they have. One that is too old mounts the whole image instead of its folder, without a word, so nodes
that say nothing count as unable. Sources: kubernetes.io, "Use an Image Volume With a Pod" (1.35: beta, enabled by
default); containerd/containerd pull request 11578, kubernetes/website pull request 56606 (subPath: containerd 2.2,
CRI-O 1.33).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kaito.api.core import Node
from kaito.api.meta import Json
from kaito.api.names import bounded_name
from kaito.plan.pods.part import PodPart
from kaito.plan.pods.security import CONTAINER_SECURITY, scratch
from kaito.state.view import ServerCapabilities

AUTH_DIR = "/mnt/registry-auth"
DATA_DIR = "data"  # where an image has its files
SERVED_MINOR = 33  # beta, with subPath; before, the field is dropped or refused
DEFAULT_MINOR = 35  # on, unless somebody has switched it off
RUNTIMES = {"containerd": (2, 2), "cri-o": (1, 33)}  # the first version that mounts a folder of an image


def mounts_images(
    wish: Literal["auto", "always", "never"], capabilities: ServerCapabilities, nodes: Sequence[Node]
) -> bool:
    """Whether pods on these nodes can have images as volumes. `always`: whatever the nodes say of themselves."""
    match wish:
        case "never":
            return False
        case "always":
            return capabilities.at_least(SERVED_MINOR)
        case "auto":
            return capabilities.at_least(DEFAULT_MINOR) and bool(nodes) and all(_can_mount(node) for node in nodes)


def _can_mount(node: Node) -> bool:
    info = node.status.node_info
    runtime, _, version = info.container_runtime_version.partition("://")
    least = RUNTIMES.get(runtime)
    return least is not None and _version(version) >= least and _version(info.kubelet_version) >= (1, DEFAULT_MINOR)


def _version(text: str) -> tuple[int, int]:
    """Major and minor of `v1.36.0-gke.1` or `2.2.1`; (0, 0) for anything else."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image with files under /data (or an artifact), which are to be at `target`. `name` is unique in the pod."""

    name: str
    reference: str
    target: str
    pull_secrets: tuple[str, ...] = ()


def pulled(image: PulledImage, *, puller: str, uses_volumes: bool) -> PodPart:
    """What the pod needs to have the files. `puller`: the pod's own image, unless nodes mount images."""
    name = volume_name(image.name)
    mount: Json = {"name": name, "mountPath": image.target}
    if uses_volumes:
        source = {"reference": image.reference, "pullPolicy": "IfNotPresent"}
        read = mount | {"readOnly": True, "subPath": DATA_DIR}
        return PodPart(({"name": name, "image": source},), (read,), pull_secrets=image.pull_secrets)
    container, volumes = _puller(image, puller, mount)
    holder = {"name": name, "emptyDir": {}}
    return PodPart((holder, *volumes), (mount | {"readOnly": True},), init_containers=(container,))


def volume_name(name: str) -> str:
    return bounded_name(f"adapter-volume-{name.replace('.', '-').lower()}")


def _puller(image: PulledImage, puller: str, mount: Json) -> tuple[Json, tuple[Json, ...]]:
    """The init container, and the volume with the credentials that it reads."""
    command = ["python", "-m", "kaito.oci", "pull", f"--image={image.reference}", f"--into={image.target}"]
    command.append(f"--path={DATA_DIR}")
    mounts, volumes = [mount, *scratch().mounts], list(scratch().volumes)
    if image.pull_secrets:
        auth = bounded_name(f"registry-auth-{image.name.replace('.', '-').lower()}")
        command.append(f"--auth-dir={AUTH_DIR}")
        mounts.append({"name": auth, "mountPath": AUTH_DIR, "readOnly": True})
        volumes.append(_credentials(auth, image.pull_secrets))
    container = {
        "name": bounded_name(f"puller-{image.name.replace('.', '-').lower()}"),
        "image": puller,
        "command": command,
        "env": list(scratch().env),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": CONTAINER_SECURITY,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }
    return container, tuple(volumes)


def _credentials(volume: str, secrets: tuple[str, ...]) -> Json:
    """One file per Secret of type kubernetes.io/dockerconfigjson."""
    sources = [
        {"secret": {"name": name, "items": [{"key": ".dockerconfigjson", "path": f"{name}/config.json"}]}}
        for name in secrets
    ]
    return {"name": volume, "projected": {"sources": sources}}
