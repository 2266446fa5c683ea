"""Settings of the robots: how long each stage takes, and what goes wrong. Frozen; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

INFERENCE_IMAGE = "ghcr.io/kaito-project/kaito-py-inference:*"
TUNING_IMAGE = "ghcr.io/kaito-project/kaito-py-tuning:*"
RAG_IMAGE = "ghcr.io/kaito-project/kaito-py-rag:*"


@dataclass(frozen=True, slots=True)
class StageDelays:
    """How long each stage takes, in seconds. `jitter` is the share by which a delay varies, up or down."""

    launch_s: float = 1.5
    register_s: float = 2.0
    node_ready_s: float = 1.5
    device_plugin_s: float = 2.0
    initialize_s: float = 0.5
    release_s: float = 1.0  # a machine takes so long to go
    image_pull_s: float = 1.0
    container_start_s: float = 0.5
    model_load_s: float = 4.0  # instant pods only; real ones load a model
    pod_stop_s: float = 0.5  # instant pods only
    jitter: float = 0.2


NO_DELAYS = StageDelays(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `argument` is what the fault's row in FAULTS says; `pattern` is a glob.

    The glob is matched against the name of the object and, for machines, against the instance type and the NodeClaim's
    name; for pods against the name of the pod.
    """

    name: str
    argument: str = ""
    pattern: str = "*"

    def concerns(self, *names: str) -> bool:
        return any(fnmatchcase(name.lower(), self.pattern.lower()) for name in names if name)

    @property
    def argument_s(self) -> float:
        return float(self.argument)


@dataclass(frozen=True, slots=True)
class FaultKind:
    """`argument` says what the value after `=` is: nothing, seconds (with the default), or text (with the default)."""

    summary: str
    argument: Literal["", "seconds", "text"] = ""
    default: str = ""


FAULTS: dict[str, FaultKind] = {
    "quota-exceeded": FaultKind("the cloud refuses the machine: the family's quota is used up"),
    "capacity-exhausted": FaultKind("the cloud has no such machine in the region now"),
    "claim-given-up": FaultKind("the provisioner deletes the claim, as Karpenter does where the cloud has no machine"),
    "launch-late": FaultKind("the cloud takes so long to launch a machine", "seconds", "60"),
    "node-never-registers": FaultKind("the machine boots and never joins the cluster"),
    "node-never-ready": FaultKind("the node joins and its container network never comes up"),
    "node-ready-late": FaultKind("the node takes so long to become Ready", "seconds", "60"),
    "node-not-ready": FaultKind("the node stops reporting so long after it became Ready", "seconds", "30"),
    "startup-taint-stays": FaultKind("a startup taint is never removed"),
    "wrong-instance-type": FaultKind("the cloud gives another instance type", "text", "Standard_NC6s_v3"),
    "device-plugin-missing": FaultKind("no device plugin registers with the kubelet"),
    "device-plugin-late": FaultKind("the device plugin takes so long to register", "seconds", "60"),
    "device-plugin-flapping": FaultKind(
        "the device plugin restarts with this period; each time GPUs are 0 for a fifth of it", "seconds", "60"
    ),
    "gpu-unhealthy": FaultKind("so many GPUs of each node are unhealthy", "text", "1"),
    "image-pull-error": FaultKind("the image cannot be pulled"),
    "server-crash-loop": FaultKind(
        "the container prints this and exits with status 1", "text", "RuntimeError: CUDA error: out of memory"
    ),
    "server-out-of-memory": FaultKind("the container is killed for its use of memory"),
    "server-never-ready": FaultKind("the container runs and its readiness probe never succeeds"),
}


def parse_fault(text: str) -> Fault:
    """`NAME[=ARGUMENT][@GLOB]` as a Fault. Raises ValueError that names the value and the remedy."""
    head, _, pattern = text.partition("@")
    name, has_argument, argument = head.partition("=")
    kind = FAULTS.get(name)
    if kind is None:
        raise ValueError(f"--fault {text!r}: unknown fault {name!r}; choose one of {', '.join(FAULTS)}")
    if has_argument and not kind.argument:
        raise ValueError(f"--fault {text!r}: {name} takes no value; write {name} or {name}@GLOB")
    argument = argument or kind.default
    if kind.argument == "seconds":
        argument = str(_seconds(text, argument))
    return Fault(name, argument, pattern or "*")


def _seconds(text: str, argument: str) -> float:
    try:
        seconds = float(argument.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise ValueError(f"--fault {text!r}: expected seconds, such as 30s, got {argument!r}")
    return seconds


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """`is_strict`: an error of a robot crashes it (tests and simulator) instead of being logged and tried again."""

    delays: StageDelays = field(default_factory=StageDelays)
    faults: tuple[Fault, ...] = ()
    images: tuple[str, ...] = (INFERENCE_IMAGE, TUNING_IMAGE, RAG_IMAGE)  # globs of the images that we can run
    cluster_minor: int = 36  # the Kubernetes 1.x that the robots imitate
    publish_addresses: bool = True  # pods show their loopback address; a real API server's controllers choke on it
    lease_period_s: float = 10.0
    crash_backoff_s: float = 10.0  # the kubelet's: doubled at each crash …
    crash_backoff_max_s: float = 300.0  # … up to this, and reset after twice this without a crash
    reference_retry_s: float = 3.0  # ConfigMaps and Secrets that a pod lacks are not watched but asked for again
    concurrency: int = 16  # reconciles of one robot at a time
    is_strict: bool = False

    def fault(self, name: str, *names: str) -> Fault | None:
        """The first fault of this name that concerns an object of these names."""
        assert name in FAULTS, name
        return next((fault for fault in self.faults if fault.name == name and fault.concerns(*names)), None)
