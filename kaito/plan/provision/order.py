"""MachineOrder: what to ask a provisioner for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MachineOrder:
    """`storage_gib` is the disk for the model's files; `node_class` is empty for the cloud's default."""

    instance_type: str
    match_labels: Mapping[str, str] = field(default_factory=dict)  # the user's: put on the nodes
    image_family: str = ""
    storage_gib: int = 0
    node_class: str = ""
    is_replica: bool = False  # of an InferenceSet, whose controller decides when a drifted node may go
