"""The command line of the model server: our `python -m kaito.inference` with the flags that vLLM understands.

On one node it is a plain list, so that no shell stands between the container and its signals. On several nodes the pods
form a Ray cluster first: pod 0 leads and serves, the others lend their GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kaito.plan.estimate import Parallelism
from kaito.plan.ports import RAY_PORT, SERVER_PORT

CONFIG_PATH = "/mnt/config/inference_config.yaml"
ADAPTERS_PATH = "/mnt/adapter"

# Architectures whose hybrid KV cache (or attention sinks) LMCache cannot offload to host memory.
NO_KV_OFFLOAD_PREFIXES = ("NemotronH", "Gemma4", "Qwen3_5", "DeepseekV4", "DeepseekV32", "GptOssForCausalLM")
# What some architectures need of vLLM, or are better with. FlashInfer's prefill of Qwen's gated delta networks is known
# to hang (vllm-project/vllm, "Qwen3.5 Inference TimeoutError with flashinfer gdn backend"); the sparse attention of
# DeepSeek V4 and GLM 5.2 has kernels for an 8-bit cache; MiniMax M2 has more experts than one GPU should slice.
ARCHITECTURE_FLAGS: dict[str, tuple[str, ...]] = {
    "DeepseekV4ForCausalLM": ("--kv-cache-dtype=fp8",),
    "GlmMoeDsaForCausalLM": ("--kv-cache-dtype=fp8",),
    "MiniMaxM2ForCausalLM": ("--enable-expert-parallel",),
    "Qwen3_5ForConditionalGeneration": ("--gdn-prefill-backend=triton",),
    "Qwen3_5MoeForConditionalGeneration": ("--gdn-prefill-backend=triton",),
}


@dataclass(frozen=True, slots=True)
class ModelFlags:
    """What the command needs to know about the model. Empty strings mean: leave the flag out."""

    model: str  # the hub's id, or a folder
    served_name: str
    architecture: str = ""
    is_quantized: bool = False
    load_format: str = ""
    config_format: str = ""
    tokenizer_mode: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    chat_template: str = ""  # one of our own, by name; empty: the tokenizer's
    download_dir: str = ""


def inference_command(
    model: ModelFlags,
    parallelism: Parallelism,
    *,
    engine: Literal["auto", "transformers"],
    has_config: bool,
    has_adapters: bool,
    gpu_memory_utilization: float,
    performance_mode: str,
    is_sliced: bool,
    measures: bool,
    leader_address: str,
) -> list[str]:
    """The container's command. `leader_address` is the DNS name of pod 0.

    `is_sliced`: the pod gets a slice of a GPU. `measures`: the server measures itself after loading.
    """
    server = [
        "python",
        "-m",
        "kaito.inference",
        f"--engine={engine}",
        f"--model={model.model}",
        f"--served-model-name={model.served_name}",
        f"--port={SERVER_PORT}",
        *([f"--download-dir={model.download_dir}"] if model.download_dir else ()),
        "--trust-remote-code",
        f"--dtype={'auto' if model.is_quantized else 'bfloat16'}",
        "--max-model-len=auto",
        f"--gpu-memory-utilization={gpu_memory_utilization:.2f}",
        *_model_flags(model),
        *_parallel_flags(model, parallelism, is_sliced),
        '--kv-events-config={"enable_kv_cache_events":true}',
        "--compilation-config.pass_config.fuse_allreduce_rms=False",
    ]
    if performance_mode not in ("", "balanced"):
        server.append(f"--performance-mode={performance_mode}")
    if has_adapters:
        server += ["--enable-lora", f"--kaito-adapters-dir={ADAPTERS_PATH}"]
    if measures:
        server.append("--kaito-benchmark")
    if has_config:
        server.append(f"--kaito-config-file={CONFIG_PATH}")  # its values win over the flags
    return server if parallelism.pipeline == 1 else _on_many_nodes(server, leader_address)


def _model_flags(model: ModelFlags) -> list[str]:
    flags = [
        ("load-format", model.load_format),
        ("config-format", model.config_format),
        ("tokenizer-mode", model.tokenizer_mode),
        ("reasoning-parser", model.reasoning_parser),
        ("tool-call-parser", model.tool_parser),
        ("chat-template", model.chat_template),
    ]
    given = [f"--{name}={value}" for name, value in flags if value]
    given += ARCHITECTURE_FLAGS.get(model.architecture, ())
    return [*given, "--enable-auto-tool-choice"] if model.tool_parser else given


def _parallel_flags(model: ModelFlags, parallelism: Parallelism, is_sliced: bool) -> list[str]:
    flags = [f"--tensor-parallel-size={parallelism.tensor}"]
    if parallelism.data > 1:
        flags.append(f"--data-parallel-size={parallelism.data}")
    if parallelism.pipeline > 1:
        flags += [f"--pipeline-parallel-size={parallelism.pipeline}", "--distributed-executor-backend=ray"]
    cannot_offload = model.architecture.startswith(NO_KV_OFFLOAD_PREFIXES)
    if parallelism.data > 1 or parallelism.pipeline > 1 or is_sliced or cannot_offload:
        flags.append("--kaito-kv-cache-cpu-memory-utilization=0")
    return flags


def _on_many_nodes(server: list[str], leader_address: str) -> list[str]:
    """Pod 0 starts Ray's head and becomes the server (`exec`: it gets the signals); the others join until told to stop.

    `"$@"` carries the server's arguments past the shell unparsed. A worker whose leader restarts joins again. The shell
    is process 1, which no signal ends that it does not handle: without the trap a worker would outlast its grace.
    """
    lead = f'ray start --head --port={RAY_PORT} --disable-usage-stats && exec "$@"'
    join = (
        "trap 'kill $! 2>/dev/null; wait; exit 0' TERM INT; "
        f"while :; do ray start --block --address={leader_address}:{RAY_PORT} & wait $!; sleep 5 & wait $!; done"
    )
    script = f'if [ "${{POD_NAME##*-}}" = 0 ]; then {lead}; else {join}; fi'
    return ["/bin/sh", "-c", script, "kaito-inference", *server]
