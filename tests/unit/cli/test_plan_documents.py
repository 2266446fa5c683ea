"""kaito plan over several documents: every kind that the operator reconciles, with what stands beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito.api.meta import Json
from tests.builders import SKU, ragengine, workspace
from tests.unit.cli.test_plan import out, written

TRAINING = Path(__file__).parents[3] / "examples" / "tuning"
BIG = "Standard_ND96isr_H100_v5"


def beside(kind: str, name: str, namespace: str = "default", **content: Any) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def inference_set(replicas: int = 2, **inference: Any) -> Json:
    template = {
        "resource": {"instanceType": SKU},
        "inference": {"preset": {"name": "phi-3.5-mini-instruct"}} | inference,
    }
    spec = {"replicas": replicas, "labelSelector": {"matchLabels": {"apps": "phi"}}, "template": template}
    return {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "metadata": {"name": "phi"}, "spec": spec}


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Json], Json]:
    """Exit status, the documents by object, and the whole."""
    status, text, _ = out(capsys, *argv, "-o", "json")
    whole = json.loads(text)
    return status, {one["object"]: one for one in whole["documents"]}, whole


def objects(document: Json) -> set[str]:
    return {step["object"] for step in document["objects"]}


def test_a_ragengine_is_planned_with_its_machine_and_what_its_pod_asks_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = {
        "compute": {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}},
        "inferenceService": {"url": "http://phi/v1", "contextWindowSize": 4096, "accessSecret": "llm"},
        "storage": {"persistentVolume": {"persistentVolumeClaim": "indexes"}},
    }
    secret = beside("Secret", "llm", stringData={"LLM_ACCESS_SECRET": "geheim"})
    status, found, _ = told(capsys, "-f", written(tmp_path, ragengine(spec=spec), secret))
    rag = found["ragengine/default/rag"]
    assert status == 2 and rag["errors"] == [] and rag["nodes"] == 1
    assert {name.partition("/")[0] for name in objects(rag)} == {"ragengine", "nodeclaim", "service", "deployment"}
    assert rag["command"] == ["python", "-m", "kaito.rag"]
    assert {(need["object"], need["key"], need["state"]) for need in rag["needs"]} == {
        ("secret/default/llm", "LLM_ACCESS_SECRET", "there"),
        ("persistentvolumeclaim/default/indexes", None, "not known"),
    }


def test_a_ragengine_without_a_machine_asks_for_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, found, whole = told(capsys, "-f", written(tmp_path, ragengine()))
    assert status == 2 and whole["nodes"] == 0 and whole["cost_per_hour"] is None
    assert "nodeclaim" not in {name.partition("/")[0] for name in objects(found["ragengine/default/rag"])}


def test_what_is_wrong_with_a_ragengine_is_told_with_its_rule(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, found, _ = told(capsys, "-f", written(tmp_path, ragengine(spec={"embedding": {}})))
    (violation,) = found["ragengine/default/rag"]["violations"]
    assert (status, violation["rule"], violation["field"]) == (1, "embedding", "spec.embedding")


def test_an_inference_set_is_planned_down_to_the_machines_of_every_replica(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "prices").write_text(f"date: 2026-11-01\nper_hour: {{{SKU}: 2, {BIG}: 90}}\n")
    config = beside("ConfigMap", "long", data={"inference_config.yaml": "vllm:\n  max-model-len: 65536\n"})
    prices = ("--prices", str(tmp_path / "prices"))
    case = ("--what-if", f"sku={BIG},replicas=3")
    status, found, whole = told(capsys, "-f", written(tmp_path, inference_set(config="long"), config), *prices, *case)
    phi = found["inferenceset/default/phi"]
    assert (status, phi["replicas"], phi["nodes"], phi["context_tokens"]) == (2, 2, 2, 65536)
    kinds = [name.partition("/")[0] for name in objects(phi)]
    assert kinds.count("workspace") == kinds.count("statefulset") == kinds.count("nodeclaim") == 2
    assert whole["cost_per_hour"] == 4 and whole["summary"]["create"] == len(phi["objects"]) + 1
    assert [(case["sku"], case["nodes"], case["cost_per_hour"]) for case in phi["what_if"]] == [
        (SKU, 2, 4),
        (BIG, 3, 270),
    ]


def test_a_tuning_workspace_is_planned_with_its_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = beside(
        "ConfigMap", "training", data={"training_config.yaml": (TRAINING / "training_config.yaml").read_text()}
    )
    files = ("-f", str(TRAINING / "tune.yaml"), "-f", str(TRAINING / "claim.yaml"), written(tmp_path, config))
    status, found, _ = told(capsys, *files, "--what-if", f"sku={BIG}")
    (tune,) = [one for name, one in found.items() if name.startswith("workspace/")]
    assert status == 2 and tune["errors"] == [] and tune["sizing"] is None
    assert "job" in {name.partition("/")[0] for name in objects(tune)}
    assert [case["fits"] for case in tune["what_if"]] == [True, True] and "GiB" in tune["reasoning"]
    assert {need["object"].partition("/")[2]: need["state"] for need in tune["needs"]} == {
        "default/facts": "not known",
        "default/freedonia": "there",
        "default/training": "there",
    }


def test_the_values_of_a_secret_are_never_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = written(tmp_path, workspace("phi"), beside("Secret", "hf", stringData={"HF_TOKEN": "geheim"}))
    for output in ("text", "json"):
        _, text, error = out(capsys, "-f", files, "-o", output)
        assert "secret/default/hf" in text and "geheim" not in text + error


def test_a_key_that_a_secret_lacks_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    preset = {"name": "phi-3.5-mini-instruct", "presetOptions": {"modelAccessSecret": "hf"}}
    body = workspace("phi", inference={"preset": preset})
    status, text, _ = out(capsys, "-f", written(tmp_path, body, beside("Secret", "hf", data={"TOKEN": "eA=="})))
    assert status == 2 and "warning: Secret hf with the key HF_TOKEN is missing" in text


def test_a_misspelt_field_is_an_error_before_the_server_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, text, _ = out(capsys, "-f", written(tmp_path, workspace("phi", resource={"instancetype": SKU})))
    assert status == 1 and "error: resource.instancetype: there is no such field" in text


def test_every_mistake_of_every_file_is_told_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "b.yaml").write_text(yaml.safe_dump_all([workspace("phi"), workspace("phi"), {"kind": "Workspace"}]))
    status, _, error = out(capsys, "-f", str(tmp_path))
    assert status == 1 and len(error.splitlines()) >= 3
    for words in ("a.yaml is not YAML", "workspace/default/phi is in", "document 3: expected a Kubernetes object"):
        assert words in error


def test_lists_folders_and_standard_input_are_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [workspace("a"), workspace("b")]
    (tmp_path / "list.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": bodies}))
    assert len(told(capsys, "-f", str(tmp_path))[1]) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump_all(bodies)))
    assert len(told(capsys, "-f", "-")[1]) == 2


def test_an_object_without_a_namespace_is_planned_in_the_named_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, found, _ = told(capsys, "-f", written(tmp_path, inference_set()), "-n", "team")
    assert set(found) == {"inferenceset/team/phi"}
    assert {name.split("/")[1] for name in objects(found["inferenceset/team/phi"]) if name.count("/") == 2} == {"team"}


def test_v1alpha1_brings_its_own_default_instance_type(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = workspace("phi", instance_type=None) | {"apiVersion": "kaito.sh/v1alpha1"}
    status, found, _ = told(capsys, "-f", written(tmp_path, body))
    assert (status, found["workspace/default/phi"]["instance_type"]) == (2, "Standard_NC24ads_A100_v4")
