"""The operator's RBAC, from what it watches (KINDS) and does: no verb by hand, none too many."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from kaito.api.core import EVENT, LEASE, POD, SECRET
from kaito.api.core import NAMESPACE as NAMESPACE_KIND
from kaito.api.meta import Json, ResourceKind
from kaito.api.names import OPERATOR_NAME, UNINSTALL_FINALIZER
from kaito.api.rbac import RBAC_GROUP
from kaito.kube.leadership import LOCK_NAME
from kaito.plan.uninstall import RIGHTS
from kaito.state.kinds import KINDS
from kaito.webhook.keeper import CONFIGURATION, CONFIGURATION_NAME, SECRET_NAME

NAME, NAMESPACE = OPERATOR_NAME, "kaito-workspace"


def cluster_rules() -> list[Json]:
    """What the operator may do in every namespace."""
    return [
        *_of_kinds(),
        _rule(POD, ["get"], subresource="log"),  # Read actions: the last words of a container
        _rule(EVENT, ["create", "patch", "list"]),  # Emit actions; Read actions: why a NodeClaim was given up
        _rule(CONFIGURATION, ["get", "patch"], names=[CONFIGURATION_NAME]),  # the webhook's authority
        _rule(NAMESPACE_KIND, ["get"], names=[NAMESPACE]),  # told to stop: for good?
        *_of_uninstall(),
    ]


def namespace_rules() -> list[Json]:
    """What it may do in its own namespace. A create cannot be limited to a name: the object has none yet."""
    return [
        _rule(LEASE, ["create"]),
        _rule(LEASE, ["get", "patch", "delete"], names=[LOCK_NAME]),
        _rule(SECRET, ["create"]),
        _rule(SECRET, ["get", "patch"], names=[SECRET_NAME]),
    ]


def hub_token_rules() -> list[Json]:
    """What reading modelAccessSecret needs: a component of its own, for it opens every tenant's Secrets by name."""
    return [_rule(SECRET, ["get"])]


def hub_token_objects() -> list[Json]:
    """Role and binding of `hub_token_rules`; in one namespace, a Role and RoleBinding with the same rule will do."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    name = f"{NAME}-hub-tokens"
    binding = _binding("ClusterRole", {"name": name}, subject)
    binding["roleRef"] = binding["roleRef"] | {"name": name}
    return [_role("ClusterRole", {"name": name}, hub_token_rules()), binding]


def objects() -> list[Json]:
    """ServiceAccount, roles and bindings; they last until the operator has released what it holds."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    cluster: Json = {"name": NAME, "finalizers": [UNINSTALL_FINALIZER]}
    own = cluster | {"namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": deepcopy(own)},
        _role("ClusterRole", cluster, cluster_rules()),
        _binding("ClusterRole", cluster, subject),
        _role("Role", own, namespace_rules()),
        _binding("Role", own, subject),
    ]


def _of_uninstall() -> Iterator[Json]:
    """Letting go of its own rights, and of nobody else's: RBAC lets nobody grant what he does not have himself."""
    for kind in RIGHTS:
        yield _rule(kind, ["get", "patch", "delete"], names=[NAME])
        yield _rule(kind, ["update"], subresource="finalizers", names=[NAME])  # the Lease blocks their deletion


def _of_kinds() -> Iterator[Json]:
    for row in KINDS:
        yield _rule(row.kind, list(row.verbs))
        if row.is_root:
            yield _rule(row.kind, ["patch"], subresource="status")  # PatchStatus actions
            # Children block their owner's deletion; OwnerReferencesPermissionEnforcement asks for this.
            yield _rule(row.kind, ["update"], subresource="finalizers")


def _rule(kind: ResourceKind, verbs: list[str], *, subresource: str = "", names: list[str] | None = None) -> Json:
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    rule: Json = {"apiGroups": [kind.group], "resources": [resource], "verbs": verbs}
    return rule | ({"resourceNames": names} if names else {})


def _role(kind: str, metadata: Json, rules: list[Json]) -> Json:
    return {"apiVersion": f"{RBAC_GROUP}/v1", "kind": kind, "metadata": deepcopy(metadata), "rules": rules}


def _binding(kind: str, metadata: Json, subject: Json) -> Json:
    role = {"apiGroup": RBAC_GROUP, "kind": kind, "name": NAME}
    return {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": deepcopy(metadata),
        "roleRef": role,
        "subjects": [dict(subject)],
    }
