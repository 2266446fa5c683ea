"""The ValidatingWebhookConfiguration, from the kinds that have rules and the versions in which they are served."""

from __future__ import annotations

from kaito.api.crds import crds
from kaito.api.meta import Json
from kaito.cli.rbac import NAMESPACE
from kaito.plan.validate import VALIDATORS
from kaito.webhook.keeper import CONFIGURATION, CONFIGURATION_NAME
from kaito.webhook.server import PATH

SERVICE = "kaito-webhook"
TIMEOUT_S = 10


def configuration() -> Json:
    """One webhook a kind. The operator writes its authority into `caBundle`; the status is not asked about."""
    hooks = [_hook(crd["spec"]) for crd in crds().values() if crd["spec"]["names"]["kind"] in VALIDATORS]
    return {
        "apiVersion": CONFIGURATION.api_version,
        "kind": CONFIGURATION.kind,
        "metadata": {"name": CONFIGURATION_NAME},
        "webhooks": hooks,
    }


def _hook(spec: Json) -> Json:
    versions = [version["name"] for version in spec["versions"] if version["served"]]
    return {
        "name": f"validation.{spec['names']['kind'].lower()}.kaito.sh",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": TIMEOUT_S,
        "clientConfig": {"service": {"name": SERVICE, "namespace": NAMESPACE, "path": PATH, "port": 443}},
        "rules": [
            {
                "apiGroups": [spec["group"]],
                "apiVersions": versions,
                "operations": ["CREATE", "UPDATE"],
                "resources": [spec["names"]["plural"]],
                "scope": "Namespaced",
            }
        ],
    }
