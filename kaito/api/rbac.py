"""The kinds from which an account's rights come."""

from __future__ import annotations

from kaito.api.meta import ResourceKind

RBAC_GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLE = ResourceKind(RBAC_GROUP, "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = ResourceKind(RBAC_GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings", False)
ROLE = ResourceKind(RBAC_GROUP, "v1", "Role", "roles", True)
ROLE_BINDING = ResourceKind(RBAC_GROUP, "v1", "RoleBinding", "rolebindings", True)
SERVICE_ACCOUNT = ResourceKind("", "v1", "ServiceAccount", "serviceaccounts", True)
