"""Files that come in container images or OCI artifacts: pulled by an init container, or mounted as an image volume.

The init container is our own image with `python -m kaito.oci pull`: it needs no shell in the image that it pulls, and
reads artifacts that are not made of tar layers. An image volume saves the copy; it needs Kubernetes 1.33 and a runtime
that knows it, so the operator is told to use it (`PlanSettings.image_volumes`).
"""

from __future__ import annotations

from dataclasses import dataclass

from kaito.api.meta import Json
from kaito.api.names import bounded_name
from kaito.plan.pods.part import PodPart
from kaito.plan.pods.security import CONTAINER_SECURITY

AUTH_DIR = "/mnt/registry-auth"
IMAGE_VOLUMES_MINOR = 33  # beta; before, the field is dropped or refused


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image whose folder `path` (empty: all of it) is to be at `target`. `name` is unique in the pod."""

    name: str
    reference: str
    target: str
    path: str = ""
    pull_secrets: tuple[str, ...] = ()


def pulled(image: PulledImage, *, puller: str, volume: Json | None = None, uses_volumes: bool = False) -> PodPart:
    """`puller`: the image that pulls. `volume`: the volume that the files go to; None for one of the pod's own."""
    name = volume_name(image.name)
    mount = {"name": name, "mountPath": image.target}
    if uses_volumes:
        source = {"reference": image.reference, "pullPolicy": "IfNotPresent"}
        sub_path = {"subPath": image.path} if image.path else {}
        return PodPart(
            ({"name": name, "image": source},),
            (mount | {"readOnly": True} | sub_path,),
            pull_secrets=image.pull_secrets,
        )
    holder = {"name": name, "emptyDir": {}} if volume is None else volume
    container, auth = _puller(image, puller, {**mount, "name": holder["name"]})
    own = (holder, mount | {"readOnly": True}) if volume is None else None
    return PodPart(
        (*((own[0],) if own else ()), *auth),
        (own[1],) if own else (),
        init_containers=(container,),
    )


def volume_name(name: str) -> str:
    return bounded_name(f"adapter-volume-{name.replace('.', '-').lower()}")


def _puller(image: PulledImage, puller: str, mount: Json) -> tuple[Json, tuple[Json, ...]]:
    """The init container, and the volume with the credentials that it reads."""
    command = ["python", "-m", "kaito.oci", "pull", f"--image={image.reference}", f"--into={image.target}"]
    command += [f"--path={image.path}"] if image.path else []
    mounts, volumes = [mount], list[Json]()
    if image.pull_secrets:
        auth = bounded_name(f"registry-auth-{image.name.replace('.', '-').lower()}")
        command.append(f"--auth-dir={AUTH_DIR}")
        mounts.append({"name": auth, "mountPath": AUTH_DIR, "readOnly": True})
        volumes.append(_credentials(auth, image.pull_secrets))
    container = {
        "name": bounded_name(f"puller-{image.name.replace('.', '-').lower()}"),
        "image": puller,
        "command": command,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": CONTAINER_SECURITY,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }
    return container, tuple(volumes)


def _credentials(volume: str, secrets: tuple[str, ...]) -> Json:
    """One file per Secret of type kubernetes.io/dockerconfigjson."""
    sources = [
        {"secret": {"name": name, "items": [{"key": ".dockerconfigjson", "path": f"{name}.json"}]}} for name in secrets
    ]
    return {"name": volume, "projected": {"sources": sources}}
