"""Instance types that the tables do not have, or have wrong: the operator's ConfigMap `kaito-skus`, key `skus.yaml`.

skus:
- name: Standard_ND128isr_B200_v6   # what the cloud calls it
  gpus: 8
  memoryGiB: 1440                   # of all its GPUs together
  model: NVIDIA B200
  nvme: true                        # has disks of its own; default false
  resource: nvidia.com/gpu          # what pods request; the default
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from kaito.plan.catalog.skus import NVIDIA_GPU, Sku

SKU_FILE_KEY = "skus.yaml"
FIELDS = {"name": str, "gpus": int, "memoryGiB": int, "model": str, "nvme": bool, "resource": str}
REQUIRED = ("name", "gpus", "memoryGiB", "model")


@lru_cache(maxsize=4)  # the same text is asked for at every plan
def parse_skus(text: str) -> Mapping[str, Sku]:
    """The types by lower-case name. Raises ValueError that names the entry, the field and what was expected."""
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{SKU_FILE_KEY} is not YAML: {str(error).splitlines()[0]}") from error
    entries = content.get("skus") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"{SKU_FILE_KEY}: expected a list under the key skus")
    found = [_sku(index, entry) for index, entry in enumerate(entries)]
    return {sku.name.lower(): sku for sku in found}


def _sku(index: int, entry: Any) -> Sku:
    where = f"{SKU_FILE_KEY}: skus[{index}]"
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected a mapping, got {entry!r}")
    if unknown := sorted(set(map(str, entry)) - set(FIELDS)):
        raise ValueError(f"{where}.{unknown[0]}: no such field; there are {', '.join(FIELDS)}")
    for field in REQUIRED:
        if field not in entry:
            raise ValueError(f"{where}.{field}: missing")
    for field, value in entry.items():
        if type(value) is not FIELDS[field]:
            raise ValueError(f"{where}.{field}: {value!r}, expected {FIELDS[field].__name__}")
    if entry["gpus"] < 1 or entry["memoryGiB"] < entry["gpus"]:
        raise ValueError(f"{where}: {entry['gpus']} GPUs with {entry['memoryGiB']} GiB together make no sense")
    return Sku(
        entry["name"],
        entry["gpus"],
        entry["memoryGiB"],
        entry["model"],
        has_nvme=entry.get("nvme", False),
        resource=entry.get("resource") or NVIDIA_GPU,
    )
