"""kaito plan tells the whole way, touches nothing, and says by its exit status whether there is something to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito.cli import run
from kaito.cli.memory_bar import WIDTH
from tests.builders import workspace

QUICK_START = Path(__file__).parents[3] / "examples" / "quickstart" / "workspace-phi-3.5-mini.yaml"


def out(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = run(["plan", *argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def written(folder: Path, *bodies: Any) -> str:
    path = folder / "file.yaml"
    path.write_text(yaml.safe_dump_all(bodies))
    return str(path)


def test_from_nothing_every_object_is_told_with_its_content(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = out(capsys, "-f", str(QUICK_START))
    assert status == 2
    assert "machines   1 × Standard_NC24ads_A100_v4, each with 1 × NVIDIA A100 of 80 GiB" in text
    assert "command    python -m kaito.inference" in text and "--max-model-len" in text
    for line in ("+ nodeclaim/ws", "+ service/default/workspace-phi-3-5-mini-headless", "+ kind: StatefulSet"):
        assert line in text
    assert "0 to change, 0 to delete" in text
    (bar,) = [line.partition("|")[2].rpartition("|")[0] for line in text.splitlines() if "one GPU" in line]
    assert len(bar) == WIDTH and bar.startswith("#")


def test_json_carries_sizing_objects_images_and_cost(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "prices").write_text("date: 2026-11-01\nper_hour: {Standard_NC24ads_A100_v4: 3.5}\n")
    status, text, _ = out(capsys, "-f", str(QUICK_START), "-o", "json", "--prices", str(tmp_path / "prices"))
    (found,) = json.loads(text)["documents"]
    assert (status, found["nodes"], found["cost_per_hour"], found["errors"]) == (2, 1, 3.5, [])
    assert found["sizing"]["sku"] == "Standard_NC24ads_A100_v4" and found["sizing"]["fits"]
    assert {step["object"].partition("/")[0] for step in found["objects"]} >= {"nodeclaim", "service", "statefulset"}
    assert all(step["action"] == "create" and step["body"] for step in found["objects"])
    assert found["objects"][0]["object"] == "workspace/default/workspace-phi-3-5-mini"
    assert found["summary"]["create"] == len(found["objects"]) and found["images"] and found["command"]


def test_a_config_map_of_the_files_counts_and_a_missing_one_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    body = workspace("phi", config="settings")
    content = "vllm:\n  max-model-len: 65536\n"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "default"},
        "data": {"inference_config.yaml": content},
    }
    status, text, _ = out(capsys, "-f", written(tmp_path, body, config), "-o", "json")
    assert (status, json.loads(text)["documents"][0]["context_tokens"]) == (2, 65536)
    status, text, _ = out(capsys, "-f", written(tmp_path, body))
    assert status == 1 and "error: inference.config: there is no ConfigMap settings" in text


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (workspace("phi", preset="phi-5"), "'phi-5': is not in the catalogue"),
        (workspace("phi", instance_type="Standard_NC24ads_A100_v5"), "'Standard_NC24ads_A100_v5'"),
        (workspace("phi", inference={"preset": 7}), "inference.preset"),
        (workspace("1phi"), "beginning with a letter"),
    ],
)
def test_what_is_wrong_with_a_workspace_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, body: Any, complaint: str
) -> None:
    status, text, _ = out(capsys, "-f", written(tmp_path, body))
    assert status == 1 and complaint in text and "error: " in text


@pytest.mark.parametrize(
    ("content", "argv", "complaint"),
    [
        ("a: [", (), "is not YAML"),
        ("- 1\n", (), "document 1: expected a Kubernetes object"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", (), "no Workspace or InferenceSet or RAGEngine in"),
        ("kind: Workspace\nmetadata: {name: a}\n", (), "kind or apiVersion is missing"),
        ("apiVersion: kaito.sh/v2\nkind: Workspace\nmetadata: {name: a}\n", (), "'kaito.sh/v2' is not served"),
        ("kind: Workspace\nmetadata: {namespace: a}\n", (), "metadata.name is missing"),
        ("", ("--what-if", "sku=none"), "instance type 'none' is not known"),
        ("", ("--what-if", "gpus=2"), "expected sku=…, replicas=…, context=…"),
        ("", ("--what-if", "context=-1"), "context is a positive number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, argv: tuple[str, ...], complaint: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    status, _, error = out(capsys, "-f", str(path), *argv)
    assert status == 1 and complaint in error
    assert out(capsys, "-f", str(tmp_path / "nowhere"))[0] == 1


def test_what_if_compares_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    cases = ("--what-if", "sku=Standard_ND96isr_H100_v5", "--what-if", "replicas=3,context=65536")
    _, text, _ = out(capsys, "-f", str(QUICK_START), "--brief", *cases)
    lines = {
        line[:13].strip(): line.split()[-1] for line in text.splitlines() if line[:13].strip() in ("nodes", "GPUs")
    }
    assert lines == {"nodes": "3", "GPUs": "3"}
    assert "as written" in text and "replicas=3,context=65536" in text


@pytest.mark.parametrize("argv", [(), ("--filename",), ("-f", "x", "--no-such-flag"), ("-f", "x", "-o", "xml")])
def test_a_wrong_command_line_is_an_error_and_no_change(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["plan", *argv])
    assert ended.value.code == 1 and "error: " in capsys.readouterr().err


def test_what_stands_twice_in_an_object_is_written_twice(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = out(capsys, "-f", str(QUICK_START))
    assert "&id" not in text and "*id" not in text


def test_a_missing_config_map_is_told_once_with_where_it_may_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, text, _ = out(capsys, "-f", written(tmp_path, workspace("phi", config="settings")))
    assert "or give the ConfigMap's file with -f" in text and "warning: " not in text


def test_a_case_that_does_not_fit_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = out(capsys, "-f", str(QUICK_START), "--brief", "--what-if", "context=99999999")
    assert (
        "\ncontext=99999999: microsoft/Phi-3.5-mini-instruct does not fit Standard_NC24ads_A100_v4: of 80 GiB" in text
    )


@pytest.mark.parametrize("width", [60, 80, 140, 400])
def test_sentences_and_comparisons_fit_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaito.cli.plan.terminal_width", lambda: width)
    cases = [word for n in (1, 2, 3) for word in ("--what-if", f"sku=Standard_NC48ads_A100_v4,replicas={n}")]
    _, text, _ = out(capsys, "-f", str(QUICK_START), "--brief", *cases)
    tables = text.count("as written")
    assert tables == {60: 3, 80: 3, 140: 2, 400: 1}[width], "each begins with the object as written"
    facts = text.partition("  model ")[2].partition("\n\n")[0].splitlines()
    assert all(len(line) <= width or len(line.split()) == 1 for line in facts), "but for a flag that is longer"
    assert any(line.startswith("  one GPU    |###") for line in facts)
