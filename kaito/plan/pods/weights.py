"""Where a model's weights come from, and what the pod needs for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import LABEL_WORKSPACE, LOCAL_DISK_CLASS
from kaito.plan.pods.images import PulledImage, pulled
from kaito.plan.pods.part import PodPart

WEIGHTS_DIR = "/workspace/weights"
NODE_WEIGHTS_DIR = "/opt/kaito/models"
VOLUME = "model-weights-volume"


@dataclass(frozen=True, slots=True)
class Weights:
    """`hub`: downloaded when the server starts. `node`: already on the machine. `image`: in an image or artifact.

    `claim_gib`: the size of a claim on the machine's own disk, 0 for an emptyDir.
    """

    source: Literal["hub", "node", "image"] = "hub"
    model_id: str = ""
    image: str = ""
    pull_secrets: tuple[str, ...] = ()
    claim_gib: int = 0
    endpoint: str = ""  # of the hub, where it is not the usual one

    @property
    def model(self) -> str:
        """What the server is told to load: the hub's id, or a folder."""
        return {"hub": self.model_id, "node": node_folder(self.model_id), "image": WEIGHTS_DIR}[self.source]

    @property
    def download_dir(self) -> str:
        return WEIGHTS_DIR if self.source == "hub" else ""


def node_folder(model_id: str) -> str:
    """Where whoever prepares machines puts a model: its id in lower case, slashes as dashes."""
    return f"{NODE_WEIGHTS_DIR}/{model_id.lower().replace('/', '-')}"


def weights_part(root: ObjectRef, weights: Weights, *, puller: str, uses_image_volumes: bool) -> PodPart:
    """Volumes, mounts and init containers."""
    mount = {"name": VOLUME, "mountPath": WEIGHTS_DIR}
    match weights.source:
        case "node":
            folder = node_folder(weights.model_id)
            host = {"name": "model-weights-hostpath", "hostPath": {"path": folder, "type": "Directory"}}
            return PodPart((host,), ({"name": host["name"], "mountPath": folder, "readOnly": True},))
        case "image":
            image = PulledImage("model-weights", weights.image, WEIGHTS_DIR, pull_secrets=weights.pull_secrets)
            return pulled(image, puller=puller, uses_volumes=uses_image_volumes)
        case "hub" if weights.claim_gib:
            return PodPart(mounts=(mount,), claims=(_claim(root, weights.claim_gib),), env=_env(weights))
        case _:
            return PodPart(({"name": VOLUME, "emptyDir": {}},), (mount,), env=_env(weights))


def _env(weights: Weights) -> tuple[Json, ...]:
    return ({"name": "HF_ENDPOINT", "value": weights.endpoint},) if weights.endpoint else ()


def _claim(root: ObjectRef, size_gib: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": VOLUME, "labels": {LABEL_WORKSPACE: root.name}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": LOCAL_DISK_CLASS,
            "resources": {"requests": {"storage": f"{size_gib}Gi"}},
        },
    }
