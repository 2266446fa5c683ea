"""Objects as an API server sends them, at the size of real ones: a pod of about 3.6 KB with its managedFields."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def pod(index: int, version: int, *, workspaces: int) -> Json:
    """Pod 0 of a Workspace on a node of its own; `version` also changes what readers see of it."""
    owner = f"workspace-{index % workspaces:05d}"
    name = f"{owner}-{index // workspaces}"
    restarts, started = version % 7, f"2026-01-31T12:{version % 60:02d}:00Z"
    container = {
        "name": owner,
        "image": "ghcr.io/kaito-project/kaito-py-inference:0.1.0",
        "command": ["python", "-m", "kaito.inference", "--model", "microsoft/Phi-3.5-mini-instruct", "--port", "5000"],
        "ports": [{"containerPort": 5000, "protocol": "TCP"}],
        "env": [{"name": f"VARIABLE_{number}", "value": f"value-{number}"} for number in range(8)],
        "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
        "volumeMounts": [{"mountPath": path, "name": path.strip("/")} for path in ("/dev", "/mnt", "/workspace")],
        "livenessProbe": _probe("/health"),
        "readinessProbe": _probe("/health"),
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": f"{owner}-",
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{index:012d}",
            "resourceVersion": str(1_000_000 + version),
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "labels": {
                "kaito.sh/workspace": owner,
                "apps.kubernetes.io/pod-index": str(index // workspaces),
                "controller-revision-hash": f"{owner}-7f9c6d5b8",
                "statefulset.kubernetes.io/pod-name": name,
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "StatefulSet",
                    "name": owner,
                    "uid": f"00000000-0000-4000-9000-{index % workspaces:012d}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [_managed("kube-controller-manager"), _managed("kubelet")],
        },
        "spec": {
            "containers": [container],
            "nodeName": f"node-{index:05d}",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
                for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": started}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": "10.0.0.1",
            "podIP": f"10.1.{index // 250 % 250}.{index % 250}",
            "startTime": "2026-01-31T12:00:00Z",
            "containerStatuses": [
                {
                    "name": owner,
                    "state": {"running": {"startedAt": started}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": restarts,
                    "image": container["image"],
                    "imageID": "ghcr.io/kaito-project/kaito-py-inference@sha256:" + "0123456789abcdef" * 4,
                    "started": True,
                }
            ],
            "qosClass": "BestEffort",
        },
    }


def watch_line(type_: str, obj: Json) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode() + b"\n"


def _probe(path: str) -> Json:
    return {"httpGet": {"path": path, "port": 5000, "scheme": "HTTP"}, "periodSeconds": 10, "failureThreshold": 3}


def _managed(manager: str) -> Json:
    fields = {"f:containers": {"k:{}": {".": {}, "f:name": {}, "f:image": {}, "f:env": {".": {}}}}, "f:nodeName": {}}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-31T12:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:kaito.sh/workspace": {}}}, "f:spec": fields},
    }
