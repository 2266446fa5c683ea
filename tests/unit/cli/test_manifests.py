"""manifests/: generated files are current, RBAC is what KINDS and actions need, and everything fits together."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito.actors import uninstall
from kaito.api.core import LEASE
from kaito.api.crds import crds
from kaito.api.meta import Json
from kaito.api.names import UNINSTALL_FINALIZER
from kaito.cli import operator, run
from kaito.cli.manifests import OPERATOR_IMAGE
from kaito.cli.operate import OPERATOR_NAMESPACE
from kaito.cli.operator import NAMESPACE_FILE
from kaito.cli.rbac import NAMESPACE, cluster_rules
from kaito.plan.uninstall import RIGHTS, rights
from kaito.plan.validate import VALIDATORS
from kaito.state.kinds import KINDS

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"


def everything(folder: Path = MANIFESTS / "operator") -> list[Json]:
    """The objects of a kustomization without patches."""
    found: list[Json] = []
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        at = folder / name
        found += everything(at) if at.is_dir() else [body for body in yaml.safe_load_all(at.read_text()) if body]
    return found


def test_every_crd_is_in_the_kustomization() -> None:
    assert {f"{body['metadata']['name']}" for body in everything(MANIFESTS / "crds")} == {
        body["metadata"]["name"] for body in crds().values()
    }


def one(kind: str, name: str) -> Json:
    (found,) = [body for body in everything() if (body["kind"], body["metadata"]["name"]) == (kind, name)]
    return found


def test_the_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["manifests", "--check", f"--dir={MANIFESTS}"]) == 0
    assert capsys.readouterr().err == ""


def test_a_file_that_is_out_of_date_is_named_and_then_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds" / "kaito.sh_workspaces.yaml").write_text("old")
    assert run(["manifests", "--check", f"--dir={tmp_path}"]) == 1
    assert "kaito.sh_workspaces.yaml is out of date: run `kaito manifests`" in capsys.readouterr().err
    assert run(["manifests", f"--dir={tmp_path}"]) == 0
    assert run(["manifests", "--check", f"--dir={tmp_path}"]) == 0


def test_images_for_a_mirror_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["manifests", "--print", "images"]) == 0
    assert capsys.readouterr().out.split()[0] == OPERATOR_IMAGE


def test_rbac_is_the_verbs_of_kinds_and_of_actions_and_nothing_else() -> None:
    granted = {
        (rule["apiGroups"][0], rule["resources"][0]): frozenset(rule["verbs"])
        for rule in one("ClusterRole", "kaito-operator")["rules"]
    }
    used: dict[tuple[str, str], frozenset[str]] = {
        (row.kind.group, row.kind.plural): frozenset(row.verbs) for row in KINDS
    }
    for row in KINDS:
        if row.is_root:
            used[row.kind.group, f"{row.kind.plural}/status"] = frozenset({"patch"})
            used[row.kind.group, f"{row.kind.plural}/finalizers"] = frozenset({"update"})
    used["", "pods/log"] = frozenset({"get"})
    used["", "events"] = frozenset({"create", "patch", "list"})
    used["admissionregistration.k8s.io", "validatingwebhookconfigurations"] = frozenset({"get", "patch"})
    used["", "namespaces"] = frozenset({"get"})
    for kind in RIGHTS:  # the steps of plan.uninstall
        used[kind.group, kind.plural] = frozenset({"get", "patch", "delete"})
        used[kind.group, f"{kind.plural}/finalizers"] = frozenset({"update"})
    assert granted == used


def test_what_belongs_to_everybody_is_reachable_by_the_operators_own_name_only() -> None:
    shared = {kind.plural for kind in RIGHTS} | {"namespaces", "validatingwebhookconfigurations"}
    for rule in cluster_rules():
        if rule["resources"][0].partition("/")[0] in shared:
            (name,) = rule["resourceNames"]
            assert name in ("kaito-operator", "kaito-workspace", "kaito-validation")


def test_all_that_rights_hang_on_lasts_until_the_operator_lets_go() -> None:
    held = {body["kind"] for body in everything() if "finalizers" in body["metadata"]}
    assert held == {kind.kind for kind in RIGHTS}
    for kind, ref in rights(NAMESPACE):
        if kind != LEASE:
            assert one(kind.kind, ref.name)["metadata"]["finalizers"] == [UNINSTALL_FINALIZER]


def test_a_pod_that_is_told_to_stop_has_time_for_an_uninstall() -> None:
    pod = one("Deployment", "kaito-operator")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= uninstall.WITHIN_S + uninstall.FIRST_LOOK_S + 10


def test_the_token_is_bound_to_the_pod_and_needs_no_secret_that_goes_with_the_namespace() -> None:
    pod = one("Deployment", "kaito-operator")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    (volume,) = [item for item in pod["volumes"] if "projected" in item]
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == volume["name"]]
    assert mount == {"name": volume["name"], "mountPath": str(NAMESPACE_FILE.parent), "readOnly": True}
    sources = {next(iter(source)): next(iter(source.values())) for source in volume["projected"]["sources"]}
    paths = {item["path"] for source in sources.values() for item in source.get("items", [source])}
    assert paths == {"token", "ca.crt", "namespace"} and sources["configMap"]["name"] == "kube-root-ca.crt"


def test_no_rule_has_a_wildcard_and_no_secret_of_a_tenant_is_readable() -> None:
    for rule in cluster_rules():
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert "secrets" not in rule["resources"]
    (role,) = [body for body in everything() if body["kind"] == "Role"]
    assert all(rule.get("resourceNames") or rule["verbs"] == ["create"] for rule in role["rules"])


def test_the_deployment_is_hardened_and_its_flags_are_known() -> None:
    deployment = one("Deployment", "kaito-operator")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert deployment["spec"]["replicas"] == 2
    assert (container["image"], deployment["metadata"]["namespace"]) == (OPERATOR_IMAGE, OPERATOR_NAMESPACE)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"] and container["readinessProbe"] and container["resources"]["requests"]

    parser = argparse.ArgumentParser()
    operator.add_arguments(parser)
    values = {item["name"]: item["value"] for item in container["env"]}
    words = [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word) for word in container["args"]]
    assert words[0] == "operator" and parser.parse_args(words[1:]).webhook_bind_address == ":9443"


def test_selectors_services_and_the_webhook_meet() -> None:
    deployment = one("Deployment", "kaito-operator")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    for body in everything():
        if body["kind"] == "Service":
            assert body["spec"]["selector"].items() <= labels and body["spec"]["ports"][0]["targetPort"] in ports
        if body["kind"] in ("PodDisruptionBudget", "Deployment"):
            assert body["spec"]["selector"]["matchLabels"].items() <= labels
    hooks = one("ValidatingWebhookConfiguration", "kaito-validation")["webhooks"]
    assert len(hooks) == len(VALIDATORS)
    for hook in hooks:
        service = hook["clientConfig"]["service"]
        assert one("Service", service["name"])["spec"]["publishNotReadyAddresses"]
        assert service["namespace"] == NAMESPACE and hook["failurePolicy"] == "Fail"
        assert "v1beta1" in hook["rules"][0]["apiVersions"] and "*/*" not in hook["rules"][0]["resources"]


@pytest.mark.parametrize("overlay", ["azure", "aws", "byo", "kubernetes-1.20"])
def test_overlays_patch_what_is_there(overlay: str) -> None:
    text: Any = yaml.safe_load((MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text())
    assert text["resources"] == ["../../operator"]
    for patch in text["patches"]:
        target = one(patch["target"]["kind"], patch["target"]["name"])
        for change in yaml.safe_load(patch["patch"]):
            found: Any = target
            for part in change["path"].strip("/").split("/"):
                found = found[int(part)] if isinstance(found, list) else found[part]
            assert isinstance(found, str)


@pytest.mark.kubectl
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
@pytest.mark.parametrize("folder", [".", "overlays/azure", "overlays/aws", "overlays/byo", "overlays/kubernetes-1.20"])
def test_kustomize_builds_the_same_objects(folder: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(MANIFESTS / folder)], check=True, capture_output=True, text=True
    )
    names = {(body["kind"], body["metadata"]["name"]) for body in yaml.safe_load_all(built.stdout)}
    assert names == {(body["kind"], body["metadata"]["name"]) for body in everything()}
    provisioner = {"overlays/aws": "karpenter", "overlays/byo": "byo"}.get(folder, "azure-gpu-provisioner")
    assert f"value: {provisioner}" in built.stdout
