"""What a RAGEngine needs: a machine or none, and what its pod is told; or what is wrong with the wish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaito.api.core import CONFIG_MAP
from kaito.api.ragengine import RAGEngine
from kaito.plan.catalog import find_sku
from kaito.plan.desired.rag_workload import GUARDRAILS_DIR, POLICY_FILE, STORAGE_DIR, Retrieval
from kaito.plan.pods.images import PulledImage, mounts_images, pulled
from kaito.plan.pods.part import PodPart
from kaito.plan.provision import provisioner_of
from kaito.plan.roots import RootMeta
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot
from kaito.plan.validate.ragengine import ragengine_errors
from kaito.plan.verdict import LOOKING_UP, Failed, Ready, Waiting
from kaito.settings import PlanSettings
from kaito.state.edges import user_labels
from kaito.state.view import ClusterView

GATE = "NodesPlanned"
STORAGE_GIB = 50  # the image, an embedding model and a cache
MODEL_DIR = "/mnt/embedding"


def size_ragengine(view: ClusterView, root: RootMeta, rag: RAGEngine, settings: PlanSettings) -> Sizing:
    """One machine where `compute` is given, with its GPUs where the text is embedded there; else none."""
    wrong = _wrong(view, root, rag, settings)
    compute = rag.spec.compute
    if compute is None:
        why = "no machine of its own: spec.compute is not given, so any node will do"
        return Sizing(wrong or Ready(GATE, why, root.ref), nodes=0)
    is_byo = settings.node_provisioner == "byo"
    instance_type = "" if is_byo else compute.instance_type
    sku = find_sku(settings.cloud_provider, instance_type) if instance_type else None
    gpus = sku.gpus if sku and rag.spec.embedding.local else 0
    devices = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
    why = f"1 node ({instance_type or 'brought by the user'}), {devices} for the embedding model"
    return Sizing(
        wrong or Ready(GATE, why, root.ref),
        instance_type,
        user_labels(compute),
        compute.preferred_nodes,
        nodes=1,
        sku=sku,
        gpus_per_pod=gpus,
        storage_gib=STORAGE_GIB,
    )


def _wrong(view: ClusterView, root: RootMeta, rag: RAGEngine, settings: PlanSettings) -> Failed | Waiting | None:
    """What is wrong with the wish, or not yet known of what it names."""
    if wrong := ragengine_errors(rag, view, settings):
        return Failed(GATE, "InvalidRAGEngine", "; ".join(map(str, wrong)), root.ref, wrong[0].remedy)
    guardrails = rag.spec.guardrails
    policy = guardrails.config_map_ref if guardrails and guardrails.enabled else None
    if policy and not view.is_synced_ref(CONFIG_MAP, root.ref.namespace, policy.name):
        ref = CONFIG_MAP.ref(root.ref.namespace, policy.name)
        return Waiting(GATE, "ConfigMapUnknown", f"ConfigMap {policy.name} is being looked up", ref, LOOKING_UP)
    return None


def retrieval_of(s: Snapshot, root: RootMeta, rag: RAGEngine, sizing: Sizing) -> Retrieval:
    """What the pod is told: every field of the spec reaches the service."""
    claim, path = rag.storage
    mount_path = path or STORAGE_DIR
    guardrails = rag.spec.guardrails
    policy = guardrails.config_map_ref if guardrails and guardrails.enabled else None
    pins = provisioner_of(s.view, root.ref, s.settings).pins(root.ref) if sizing.has_machines else {}
    variables = {
        **dict(_embedding(rag)),
        **dict(_services(rag)),
        "DEFAULT_VECTOR_DB_PERSIST_DIR": f"{mount_path.rstrip('/')}/{root.ref.name}",
        "OUTPUT_GUARDRAILS_ENABLED": "true" if policy else "false",
        **({"OUTPUT_GUARDRAILS_POLICY_PATH": f"{GUARDRAILS_DIR}/{POLICY_FILE}"} if policy else {}),
    }
    return Retrieval(
        s.settings.rag_image,
        variables,
        _secrets(rag),
        claim,
        mount_path,
        policy.name if policy else "",
        _model(s, rag),
        sizing.gpus_per_pod,
        sizing.match_labels | pins,
    )


def _embedding(rag: RAGEngine) -> Iterator[tuple[str, str]]:
    embedding = rag.spec.embedding
    if embedding.remote:
        yield "EMBEDDING_SOURCE_TYPE", "remote"
        yield "REMOTE_EMBEDDING_URL", embedding.remote.url
    elif embedding.local:
        yield "EMBEDDING_SOURCE_TYPE", "local"
        yield "LOCAL_EMBEDDING_MODEL_ID", MODEL_DIR if embedding.local.image else embedding.local.model_id


def _services(rag: RAGEngine) -> Iterator[tuple[str, str]]:
    if (service := rag.spec.inference_service) is not None:
        yield "LLM_CONTEXT_WINDOW", str(service.context_window_size)
        if service.url:
            yield "LLM_INFERENCE_URL", service.url
    database = rag.spec.storage.vector_db if rag.spec.storage else None
    yield "VECTOR_DB_TYPE", database.engine if database else "faiss"
    if database:
        yield "VECTOR_DB_URL", database.url


def _secrets(rag: RAGEngine) -> Mapping[str, tuple[str, str]]:
    """Variable → (Secret, key)."""
    spec = rag.spec
    database = spec.storage.vector_db if spec.storage else None
    named = {
        ("REMOTE_EMBEDDING_ACCESS_SECRET",) * 2: spec.embedding.remote.access_secret if spec.embedding.remote else "",
        ("HF_TOKEN",) * 2: spec.embedding.local.model_access_secret if spec.embedding.local else "",
        ("LLM_ACCESS_SECRET",) * 2: spec.inference_service.access_secret if spec.inference_service else "",
        ("VECTOR_DB_ACCESS_SECRET",) * 2: database.access_secret if database else "",
    }
    return {variable: (secret, key) for (variable, key), secret in named.items() if secret}


def _model(s: Snapshot, rag: RAGEngine) -> PodPart:
    """The embedding model, where it comes in an image."""
    local = rag.spec.embedding.local
    if local is None or not local.image:
        return PodPart()
    secrets = (local.image_pull_secret,) if local.image_pull_secret else ()
    image = PulledImage("embedding", local.image, MODEL_DIR, secrets)
    uses_volumes = mounts_images(s.settings.image_volumes, s.view.capabilities, s.nodes)
    return pulled(image, puller=s.settings.rag_image, uses_volumes=uses_volumes)
