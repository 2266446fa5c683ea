"""vLLM's CPU platform, offered to Ray as a device: the one thing that keeps vLLM from spreading over nodes of CPUs."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class RayCpuPlatform(CpuPlatform):
    ray_device_key = "GPU"  # what a node says that it has, in RAY_OVERRIDE_RESOURCES


def platform() -> str:
    """vLLM's entry point `vllm.platform_plugins`."""
    return f"{__name__}.{RayCpuPlatform.__qualname__}"
