"""kubectl against the local cluster: every verb that a user tries. Skipped where there is no kubectl.

KUBECTL names the program, else the one in PATH is taken. It must be 1.27 or newer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROGRAM = os.environ.get("KUBECTL") or shutil.which("kubectl")
EXAMPLE = Path("examples/quickstart/workspace-phi-3.5-mini.yaml").resolve()
NAME = "workspace-phi-3-5-mini"
COLUMNS = ["NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "JOBSTARTED", "WORKSPACESUCCEEDED", "TARGETNODECOUNT",
           "STATE", "AGE"]  # fmt: skip
STAGES = ("launch", "register", "node-ready", "device-plugin", "initialize", "release", "image-pull", "container-start")
DEADLINE_S = 60
UP_WITHIN_S = 150

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(PROGRAM is None, reason="no kubectl: neither KUBECTL nor PATH names one"),
]


class Kubectl:
    """kubectl with the cluster's kubeconfig and a cache of its own."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._base = [str(PROGRAM), "--kubeconfig", str(kubeconfig), "--cache-dir", str(home / "cache")]
        self.env = os.environ | {"HOME": str(home)}

    def run(self, *words: str, body: Any = None, **env: str) -> subprocess.CompletedProcess[str]:
        text = None if body is None else body if isinstance(body, str) else json.dumps(body)
        return subprocess.run(
            [*self._base, *words], env=self.env | env, input=text, capture_output=True, text=True, timeout=DEADLINE_S,
            check=False,
        )  # fmt: skip

    def __call__(self, *words: str, body: Any = None, **env: str) -> str:
        """What it prints; it must succeed."""
        done = self.run(*words, body=body, **env)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str, body: Any = None) -> str:
        """What it complains of."""
        done = self.run(*words, body=body)
        assert done.returncode != 0, f"kubectl {' '.join(words)} succeeded: {done.stdout}"
        return done.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._base, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A cluster on which the quick start has been applied."""
    folder = tmp_path_factory.mktemp("kubectl")
    kaito = [sys.executable, "-m", "kaito", "local"]
    delays = [word for stage in STAGES for word in ("--delay", f"{stage}=0")]
    at = ["--dir", str(folder / "cluster")]
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    up = subprocess.run(
        [*kaito, "up", "--detach", *at, "--image", "python:*", *delays], env=env, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        found = Kubectl(folder / "cluster" / "kubeconfig", folder)
        assert found("apply", "-f", str(EXAMPLE)) == f"workspace.kaito.sh/{NAME} created\n"
        yield found
    finally:
        down = subprocess.run([*kaito, "down", *at], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture
def space(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[5:50].strip("-")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def node(kubectl: Kubectl) -> str:
    """The machine of the quick start."""
    kubectl("wait", "--for=condition=NodeClaimReady", f"workspace/{NAME}", f"--timeout={DEADLINE_S}s")
    (found,) = kubectl.json("get", "nodes")["items"]
    return str(found["metadata"]["name"])


def pod(name: str, script: str, **spec: Any) -> Any:
    container = {"name": "main", "image": "python:3", "command": ["python", "-u", "-c", script]}
    tolerations = [{"operator": "Exists"}]
    found = {"containers": [container], "tolerations": tolerations, "terminationGracePeriodSeconds": 1} | spec
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": found}


def deployment(env: dict[str, str], **container: Any) -> Any:
    variables = [{"name": name, "value": value} for name, value in env.items()]
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "python:3", "env": variables} | container]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


# Reading.


def test_get_prints_the_columns_of_a_workspace(kubectl: Kubectl) -> None:
    for plural in ("workspace", "wk", "workspaces.kaito.sh", "workspaces.v1beta1.kaito.sh"):
        assert kubectl("get", plural).splitlines()[0].split() == COLUMNS
    assert kubectl("get", "workspace", NAME, "-o", "wide").splitlines()[0].split() == COLUMNS
    assert kubectl("get", "wk", "-o", "name").split() == [f"workspace.kaito.sh/{NAME}"]
    assert kubectl("get", "wk", NAME, "--no-headers").split()[:2] == [NAME, "Standard_NC24ads_A100_v4"]


def test_get_prints_yaml_json_and_paths(kubectl: Kubectl) -> None:
    in_yaml = yaml.safe_load(kubectl("get", "workspace", NAME, "-o", "yaml"))
    assert in_yaml["inference"]["preset"]["name"] == "phi-3.5-mini-instruct"
    assert kubectl.json("get", "workspace", NAME)["metadata"]["uid"] == in_yaml["metadata"]["uid"]
    path = "{.resource.instanceType}"
    assert kubectl("get", "workspace", NAME, "-o", f"jsonpath={path}") == "Standard_NC24ads_A100_v4"
    assert "NAMESPACE" in kubectl("get", "workspace", "-A")
    assert "not found" in kubectl.fails("get", "workspace", "absent")


def test_get_all_events_and_what_is_sorted_or_selected(kubectl: Kubectl, node: str) -> None:
    assert f"statefulset.apps/{NAME}" in kubectl("get", "all")
    assert kubectl("get", "namespaces", "--sort-by=.metadata.name", "-o", "name").split()[0] == "namespace/default"
    assert kubectl("get", "pods", "--field-selector", f"spec.nodeName={node}", "-o", "name") == f"pod/{NAME}-0\n"
    assert kubectl("get", "namespaces", "--chunk-size=2", "-l", "kubernetes.io/metadata.name=default").count("\n") == 2
    assert "NodeClaimCreated" in kubectl("get", "events", "--field-selector", f"involvedObject.name={NAME}")
    assert "NodeClaimCreated" in kubectl("events", "--for", f"workspace/{NAME}")


def test_describe_ends_with_the_events(kubectl: Kubectl, node: str) -> None:
    shown = kubectl("describe", "workspace", NAME)
    assert "Instance Type:" in shown and "NodeClaimCreated" in shown.partition("Events:")[2]
    assert "nvidia.com/gpu" in kubectl("describe", "node", node)
    for what in (f"statefulset/{NAME}", f"service/{NAME}", f"pod/{NAME}-0", "namespace/default"):
        assert kubectl("describe", what).startswith("Name:")


def test_get_w_shows_changes_as_they_come(kubectl: Kubectl, space: str) -> None:
    kubectl("create", "configmap", "a", "-n", space)
    watch = kubectl.start("get", "configmaps", "-n", space, "-w")
    try:
        assert watch.stdout is not None
        assert [watch.stdout.readline().split()[0] for _ in range(2)] == ["NAME", "a"]
        kubectl("create", "configmap", "b", "-n", space, "--from-literal=x=1")
        assert watch.stdout.readline().split()[:2] == ["b", "1"]
        kubectl("delete", "configmap", "a", "-n", space)
        assert watch.stdout.readline().split()[0] == "a"
    finally:
        watch.terminate()
        watch.communicate()


def test_api_resources_and_versions(kubectl: Kubectl) -> None:
    rows = {line.split()[0]: line.split() for line in kubectl("api-resources", "--api-group=kaito.sh").splitlines()}
    assert rows["workspaces"] == ["workspaces", "wk,wks", "kaito.sh/v1beta1", "true", "Workspace"]
    assert {"apps/v1", "kaito.sh/v1alpha1", "kaito.sh/v1beta1", "v1"} <= set(kubectl("api-versions").split())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("workspace", "FIELDS:"),
        ("workspace.inference.preset.name", "FIELD: name <string>"),
        ("workspace.resource.labelSelector", "matchLabels"),
        ("pod.spec.containers.ports", "containerPort"),
        ("statefulset.spec.template.spec", "serviceAccountName"),
        ("configmap", "binaryData"),
        ("crd.spec", "versions"),
    ],
)
def test_explain(kubectl: Kubectl, path: str, words: str) -> None:
    assert words in kubectl("explain", path)


def test_explain_recursively(kubectl: Kubectl) -> None:
    assert "instanceType" in kubectl("explain", "workspace", "--recursive")


# Writing.


def test_apply_merges_three_ways_and_knows_what_is_unchanged(kubectl: Kubectl, space: str) -> None:
    body = deployment({"A": "1", "B": "2"}, args=["x"])
    assert kubectl("apply", "-n", space, "-f", "-", body=body) == "deployment.apps/web created\n"
    assert kubectl("apply", "-n", space, "-f", "-", body=body) == "deployment.apps/web unchanged\n"
    kubectl("set", "env", "deployment/web", "-n", space, "C=3")
    changed = deployment({"A": "1", "D": "4"})
    assert kubectl("apply", "-n", space, "-f", "-", body=changed) == "deployment.apps/web configured\n"
    (container,) = kubectl.json("get", "deployment", "web", "-n", space)["spec"]["template"]["spec"]["containers"]
    assert {item["name"]: item["value"] for item in container["env"]} == {"A": "1", "C": "3", "D": "4"}
    assert "args" not in container


def test_apply_of_a_custom_resource_removes_what_is_dropped(kubectl: Kubectl, space: str) -> None:
    body = yaml.safe_load(EXAMPLE.read_text())
    body["metadata"] = {"name": "w", "labels": {"a": "b"}}
    body["resource"]["labelSelector"]["matchLabels"] = {"apps": "other"}
    assert "created" in kubectl("apply", "-n", space, "-f", "-", body=body)
    del body["metadata"]["labels"]
    assert "configured" in kubectl("apply", "-n", space, "-f", "-", body=body)
    assert "labels" not in kubectl.json("get", "workspace", "w", "-n", space)["metadata"]
    kubectl("delete", "workspace", "w", "-n", space)


def test_server_side_apply_keeps_owners_apart(kubectl: Kubectl, space: str) -> None:
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"x": "1"}}
    apply = ("apply", "--server-side", "-n", space, "-f", "-")
    assert kubectl(*apply, "--field-manager=one", body=one) == "configmap/c serverside-applied\n"
    other = one | {"data": {"x": "2"}}
    assert 'conflict with "one"' in kubectl.fails(*apply, "--field-manager=two", body=other)
    kubectl(*apply, "--field-manager=two", "--force-conflicts", body=other)
    managers = kubectl.json("get", "configmap", "c", "-n", space, "--show-managed-fields")["metadata"]["managedFields"]
    assert [item["manager"] for item in managers] == ["two"] or {item["manager"] for item in managers} == {"one", "two"}
    kubectl(*apply, "--field-manager=two", body=one | {"data": {"y": "1"}})
    assert kubectl.json("get", "configmap", "c", "-n", space)["data"] == {"y": "1"}


def test_create_replace_diff_and_dry_runs(kubectl: Kubectl, space: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"x": "1"}}
    kubectl("create", "-n", space, "-f", "-", "--dry-run=server", body=body)
    assert "not found" in kubectl.fails("get", "configmap", "c", "-n", space)
    assert kubectl("create", "-n", space, "-f", "-", body=body) == "configmap/c created\n"
    assert "AlreadyExists" in kubectl.fails("create", "-n", space, "-f", "-", body=body)
    body["data"] = {"x": "2"}
    diff = kubectl.run("diff", "-n", space, "-f", "-", body=body)
    assert (diff.returncode, '+  x: "2"' in diff.stdout) == (1, True), diff.stderr
    assert kubectl("replace", "-n", space, "-f", "-", body=body) == "configmap/c replaced\n"
    assert kubectl.json("get", "configmap", "c", "-n", space)["data"] == {"x": "2"}
    kubectl("create", "secret", "generic", "s", "-n", space, "--from-literal=token=t")
    assert kubectl.json("get", "secret", "s", "-n", space)["data"] == {"token": "dA=="}


def test_edit(kubectl: Kubectl, space: str, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/one/two/" "$1"\n')
    editor.chmod(0o755)
    kubectl("create", "configmap", "c", "-n", space, "--from-literal=x=one")
    assert kubectl("edit", "configmap", "c", "-n", space, EDITOR=str(editor)) == "configmap/c edited\n"
    assert kubectl.json("get", "configmap", "c", "-n", space)["data"] == {"x": "two"}
    editor.write_text('#!/bin/sh\nsed -i "s/^  name: workspace.*/&\\n  labels: {edited: yes-it-is}/" "$1"\n')
    assert kubectl("edit", "workspace", NAME, EDITOR=str(editor)) == f"workspace.kaito.sh/{NAME} edited\n"
    assert kubectl.json("get", "workspace", NAME)["metadata"]["labels"] == {"edited": "yes-it-is"}


@pytest.mark.parametrize(
    ("type_", "patch", "images"),
    [
        ("strategic", {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "python:4"}]}}}},
         {"main": "python:3", "side": "python:4"}),
        ("merge", {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "python:4"}]}}}},
         {"side": "python:4"}),
        ("json", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "python:5"}],
         {"main": "python:5"}),
    ],
)  # fmt: skip
def test_patch(kubectl: Kubectl, space: str, type_: str, patch: Any, images: dict[str, str]) -> None:
    kubectl("apply", "-n", space, "-f", "-", body=deployment({}))
    kubectl("patch", "deployment", "web", "-n", space, f"--type={type_}", "-p", json.dumps(patch))
    containers = kubectl.json("get", "deployment", "web", "-n", space)["spec"]["template"]["spec"]["containers"]
    assert {item["name"]: item["image"] for item in containers} == images


def test_patch_of_a_status(kubectl: Kubectl, node: str) -> None:
    condition = {"type": "Painted", "status": "True"}
    patch = {"status": {"conditions": [condition]}}
    kubectl("patch", "node", node, "--subresource=status", "-p", json.dumps(patch))
    conditions = kubectl.json("get", "node", node)["status"]["conditions"]
    assert {"Painted", "Ready"} <= {item["type"] for item in conditions}


def test_label_and_annotate(kubectl: Kubectl) -> None:
    kubectl("label", "workspace", NAME, "color=red")
    kubectl("annotate", "workspace", NAME, "note=hello")
    assert "color" in kubectl.fails("label", "workspace", NAME, "color=blue")
    kubectl("label", "workspace", NAME, "color=blue", "--overwrite")
    assert kubectl("get", "workspace", "-l", "color=blue", "-o", "name").split() == [f"workspace.kaito.sh/{NAME}"]
    kubectl("label", "workspace", NAME, "color-")
    kubectl("annotate", "workspace", NAME, "note-")
    metadata = kubectl.json("get", "workspace", NAME)["metadata"]
    assert "color" not in metadata.get("labels", {}) and "note" not in metadata["annotations"]


def test_scale(kubectl: Kubectl, space: str) -> None:
    kubectl("apply", "-n", space, "-f", "-", body=deployment({}))
    assert kubectl("scale", "deployment/web", "-n", space, "--replicas=3") == "deployment.apps/web scaled\n"
    assert "Expected replicas" in kubectl.fails(
        "scale", "deployment/web", "-n", space, "--current-replicas=1", "--replicas=2"
    )
    kubectl("wait", "--for=jsonpath={.status.replicas}=3", "deployment/web", "-n", space, f"--timeout={DEADLINE_S}s")
    assert kubectl("get", "pods", "-n", space, "-l", "app=web", "-o", "name").count("pod/") == 3


# Deleting and waiting.


def test_delete_waits_for_finalizers(kubectl: Kubectl, space: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["kaito.sh/test"]}}
    kubectl("create", "-n", space, "-f", "-", body=body)
    assert "timed out" in kubectl.fails("delete", "configmap", "c", "-n", space, "--timeout=1s")
    assert kubectl.json("get", "configmap", "c", "-n", space)["metadata"]["deletionTimestamp"]
    waiting = kubectl.start("delete", "configmap", "c", "-n", space, "--wait")
    assert waiting.stdout is not None and "deleted" in waiting.stdout.readline()
    kubectl("patch", "configmap", "c", "-n", space, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    waiting.communicate(timeout=DEADLINE_S)
    assert waiting.returncode == 0
    assert "not found" in kubectl.fails("get", "configmap", "c", "-n", space)
    assert kubectl("delete", "configmap", "c", "-n", space, "--ignore-not-found") == ""


def test_delete_of_many_and_of_a_namespace(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "many")
    for name in ("a", "b", "c"):
        kubectl("create", "configmap", name, "-n", "many")
    kubectl("label", "configmap", "a", "b", "-n", "many", "go=yes")
    kubectl("delete", "configmap", "-n", "many", "-l", "go=yes")
    assert kubectl("get", "configmap", "-n", "many", "-o", "name").split() == ["configmap/c"]
    kubectl("delete", "namespace", "many")
    assert "not found" in kubectl.fails("get", "namespace", "many")


def test_wait_for_a_condition_and_for_the_end(kubectl: Kubectl, space: str, node: str) -> None:
    kubectl("apply", "-n", space, "-f", "-", body=pod("p", "import time; time.sleep(100)"))
    kubectl("wait", "--for=condition=Ready", "pod/p", "-n", space, f"--timeout={DEADLINE_S}s")
    waiting = kubectl.start("wait", "--for=delete", "pod/p", "-n", space, f"--timeout={DEADLINE_S}s")
    kubectl("delete", "pod", "p", "-n", space)
    waiting.communicate(timeout=DEADLINE_S)
    assert waiting.returncode == 0
    never = kubectl.fails("wait", "--for=condition=Never", "node", node, "--timeout=1s")
    assert "timed out" in never


# Pods.


def test_logs_are_followed_to_their_end_and_read_from_before_a_restart(kubectl: Kubectl, space: str, node: str) -> None:
    script = "import time\nfor n in range(3): print('line', n); time.sleep(0.5)"
    kubectl("apply", "-n", space, "-f", "-", body=pod("p", script, restartPolicy="Never"))
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/p", "-n", space, "--timeout=30s")
    done = kubectl.run("logs", "-f", "p", "-n", space)
    assert done.stdout == "line 0\nline 1\nline 2\n", done.stderr
    assert kubectl("logs", "p", "-n", space, "--tail=1") == "line 2\n"
    assert "is not valid for pod" in kubectl.fails("logs", "p", "-c", "x", "-n", space)
    crashing = pod("q", "import os; print('I die', os.getpid()); raise SystemExit(3)")
    kubectl("apply", "-n", space, "-f", "-", body=crashing)
    kubectl(
        "wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/q", "-n", space, "--timeout=30s"
    )
    assert kubectl("logs", "q", "-n", space, "--previous").startswith("I die")
    assert "previous terminated container" in kubectl.fails("logs", "p", "-n", space, "--previous")


def test_rollout_status_of_a_deployment(kubectl: Kubectl, space: str, node: str) -> None:
    body = deployment({}, command=["python", "-c", "import time; time.sleep(100)"])
    body["spec"]["template"]["spec"] |= {"tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 1}
    kubectl("apply", "-n", space, "-f", "-", body=body)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "-n", space, "--timeout=30s")


# Bad input.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body["resource"].update(cout=3), 'unknown field "resource.cout"'),
        (lambda body: body["resource"].update(count="many"), "resource.count"),
        (lambda body: body.update(kind="Workplace"), "Workplace"),
        (lambda body: body["inference"]["preset"].update(name="phi-35"), "inference.preset.name"),
        (lambda body: body["resource"].pop("labelSelector"), "resource.labelSelector"),
        (lambda body: body.pop("inference"), "inference"),
        (lambda body: body.update(tuning={"preset": {"name": "phi-3.5-mini-instruct"}}), "tuning"),
        (lambda body: body["metadata"].update(name="w" * 53), "metadata.name"),
        (lambda body: body["metadata"].update(name="1st"), "metadata.name"),
    ],
)
def test_a_bad_workspace_is_refused_with_the_field(kubectl: Kubectl, change: Callable[[Any], Any], words: str) -> None:
    body = yaml.safe_load(EXAMPLE.read_text())
    body["metadata"]["name"] = "bad"
    change(body)
    assert words in kubectl.fails("apply", "-f", "-", body=body)


def test_what_is_no_yaml_is_refused(kubectl: Kubectl) -> None:
    assert "error" in kubectl.fails("apply", "-f", "-", body="a: [")


def test_a_wrong_token_is_refused(kubectl: Kubectl) -> None:
    shown = kubectl.fails("get", "pods", "--token=wrong")
    assert "Unauthorized" in shown or "must be logged in" in shown


# The model server, when it is here.


@pytest.mark.timeout(UP_WITHIN_S + 60)
@pytest.mark.skipif(importlib.util.find_spec("kaito.inference") is None, reason="no model server in this tree")
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no torch")
def test_the_model_server_comes_up_logs_and_answers_through_the_proxy(kubectl: Kubectl) -> None:
    waiting = kubectl.start(
        "wait", "--for=condition=WorkspaceSucceeded", f"workspace/{NAME}", f"--timeout={UP_WITHIN_S}s"
    )
    out = waiting.communicate(timeout=UP_WITHIN_S + 10)[0]
    assert waiting.returncode == 0, out + kubectl("describe", "workspace", NAME) + kubectl("logs", f"{NAME}-0")
    path = f"/api/v1/namespaces/default/services/{NAME}:80/proxy/v1/models"
    models = json.loads(kubectl("get", "--raw", path))
    assert models["data"][0]["id"] == "phi-3.5-mini-instruct"
    follow = kubectl.start("logs", "-f", f"statefulset/{NAME}")
    try:
        assert follow.stdout is not None and follow.stdout.readline()
        kubectl("get", "--raw", path)
    finally:
        follow.terminate()
        follow.communicate()


def test_the_workspace_goes_with_its_machine_and_pods(kubectl: Kubectl) -> None:
    """The last one: it takes away what the others look at."""
    kubectl("delete", "workspace", NAME)
    for kind in ("nodeclaims", "nodes", "statefulsets", "services"):
        kubectl("wait", "--for=delete", kind, "--all", "-n", "default", f"--timeout={DEADLINE_S}s")
        assert kubectl("get", kind, "-n", "default", "-o", "name") == ""
