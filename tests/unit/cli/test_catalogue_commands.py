"""kaito estimate and preset: what they print, and what they say of what they do not know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kaito.cli import run


def out(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = run(list(argv))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_an_estimate_tells_nodes_shape_budget_and_context(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = out(capsys, "estimate", "llama-3.3-70b-instruct", "Standard_NC24ads_A100_v4")
    assert status == 0
    assert text.startswith("3 nodes, PP3xTP1: 131.42 GiB of weights, 2048 tokens of context")
    assert "weights     44.68 GiB" in text and "largest context that fits: 131072 tokens" in text


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (("phi-5", "g5.xlarge"), 2, "MODEL 'phi-5' is not in the catalogue; did you mean phi-4"),
        (("phi-4", "Standard_NC24ads_A100_v5"), 2, "is not known on azure; did you mean Standard_NC24ads_A100_v4"),
        ((), 2, "expected MODEL, or --list-skus"),
        (("phi-4", "--prices=/nowhere"), 2, "prices '/nowhere'"),
        (("gemma-4-31b-it", "Standard_NV36ads_A10_v5", "--context=262144"), 1, "does not fit"),
        (("phi-4", "Standard_NC24ads_A100_v4", "--context=0"), 2, "context_tokens: 0 is not positive"),
    ],
)
def test_what_cannot_be_estimated_is_told_with_a_remedy(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], status: int, message: str
) -> None:
    found, text, error = out(capsys, "estimate", *argv)
    assert (found, text) == (status, "")
    assert message in error


def test_rows_are_fitting_first_and_cheapest_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "date: 2026-11-01\nper_hour:\n  standard_nc24ads_a100_v4: 3\n  Standard_NC96ads_A100_v4: 5\n"
        "  Standard_NC80adis_H100_v5: 20\n"
    )
    status, text, _ = out(capsys, "estimate", "llama-3.3-70b-instruct", f"--prices={prices}", "--output=json")
    found = json.loads(text)
    assert status == 0 and len(found) == 14
    first = ["Standard_NC96ads_A100_v4", "Standard_NC24ads_A100_v4", "Standard_NC80adis_H100_v5"]
    assert [row["sku"] for row in found[:3]] == first, "5, 3 times 3 and 20 an hour; then those without a price"
    assert set(found[0]) == {
        "sku", "nodes", "gpus_per_node", "parallelism", "context_tokens_max", "per_gpu_bytes", "fits", "reason",
        "nodes_exact",
    }  # fmt: skip
    assert found[1]["nodes"] == 3 and found[1]["parallelism"] == {"data": 1, "tensor": 1, "pipeline": 3}
    assert set(found[1]["per_gpu_bytes"]) == {"weights", "kv_cache", "overhead", "free"}
    assert abs(sum(found[1]["per_gpu_bytes"].values()) - 80 * 2**30 * 0.84) < 4
    status, text, _ = out(capsys, "estimate", "phi-4", "--sku=Standard_NV36ads_A10_v5", "--context=400000", "-ojson")
    (misfit,) = json.loads(text)
    assert status == 1 and not misfit["fits"] and "does not fit" in misfit["reason"] and misfit["nodes"] == 0


def test_the_tables_list_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(out(capsys, "preset", "list")[1].splitlines()) == 61
    assert len(out(capsys, "estimate", "--list-skus", "--cloud=aws")[1].splitlines()) == 36


def test_a_preset_is_shown_by_any_of_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    shown = out(capsys, "preset", "show", "MISTRAL-7B")[1]
    assert "mistralai/Mistral-7B-v0.3" in shown and "aliases           mistral-7b" in shown
    status, _, error = out(capsys, "preset", "show", "mistrall-7b")
    assert status == 2 and "did you mean mistral-7b" in error


def test_a_row_is_generated_from_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "hidden_size": 4096}
    config |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    status, _, error = out(capsys, "preset", "generate", str(tmp_path))
    assert status == 1 and "no .safetensors" in error
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(3 << 30)
    status, text, _ = out(capsys, "preset", "generate", str(tmp_path))
    header, row = (line.split(",") for line in text.splitlines())
    found = dict(zip(header, row, strict=True))
    assert status == 0 and found["weights_gib"] == "3.0" and found["kv_heads"] == "8" and found["head_dim"] == "128"


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_traceback() -> None:
    command = [sys.executable, "-c", "from kaito.__main__ import main; input(); main()", "preset", "list"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stdin and process.stderr
    process.stdout.close()
    process.stdin.write(b"go on\n")
    process.stdin.close()
    assert (process.stderr.read(), process.wait(30)) == (b"", 141)
    process.stderr.close()


def test_an_estimate_says_what_its_figures_do_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, text, notes = out(capsys, "estimate", "phi-4", "--context=20000")
    assert "PER HOUR" not in text and "no prices are known" in notes
    assert "microsoft/phi-4 takes 16384 tokens of context at most" in notes and "20000 were asked" in notes
    status, _, notes = out(capsys, "estimate", "phi-4", "--context=100000000")
    assert status == 1 and "fits none of the 14 instance types with 100000000 tokens" in notes
    (tmp_path / "prices.yaml").write_text("date: 2026-11-01\nper_hour: {Standard_NC24ads_A100_v4: 3}\n")
    _, text, notes = out(capsys, "estimate", "phi-4", f"--prices={tmp_path / 'prices.yaml'}")
    assert "PER HOUR" in text and notes == ""


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_of_instance_types_fits_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaito.cli.estimate.terminal_width", lambda: width)
    _, text, _ = out(capsys, "estimate", "llama-3.1-8b-instruct")
    assert max(map(len, text.splitlines())) <= width and "CONTEXT MAX" in text and "Standard_NC24ads_A100_v4" in text
