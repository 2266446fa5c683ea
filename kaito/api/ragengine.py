"""kaito.sh/v1beta1 RAGEngine: a retrieval service, its embedding model, and the model server that it asks.

v1beta1 keeps the two flat storage fields of v1alpha1, deprecated: there is no conversion webhook, so what a schema does
not know is pruned from what was stored under the other version, and a volume would silently be gone.
"""

from __future__ import annotations

from pydantic import Field

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workspace import (
    Blocker,
    ClaimsGivenUp,
    ConditionStatus,
    ResourceSpec,
    RootObject,
    Stage,
    Wire,
    parse_as,
)

RAGENGINE = ResourceKind("kaito.sh", "v1beta1", "RAGEngine", "ragengines", True)


class PersistentVolumeSpec(Wire):
    persistent_volume_claim: str = Field(description="The PersistentVolumeClaim that keeps the indexes.")
    mount_path: str = Field("", description="Where it is mounted; /mnt/data where it is empty.")


class VectorDBSpec(Wire):
    engine: str = Field(description="faiss, qdrant, milvus or pgvector.")
    url: str = Field(description="Where the vector database listens.")
    access_secret: str = Field("", description="Secret with the key VECTOR_DB_ACCESS_SECRET.")


class StorageSpec(Wire):
    persistent_volume: PersistentVolumeSpec | None = Field(None, description="A volume that outlives the pod.")
    vector_db: VectorDBSpec | None = Field(None, alias="vectorDB", description="A vector database instead of FAISS.")
    persistent_volume_claim: str = Field("", description="Deprecated: use persistentVolume.persistentVolumeClaim.")
    mount_path: str = Field("", description="Deprecated: use persistentVolume.mountPath.")


class RemoteEmbeddingSpec(Wire):
    url: str = Field(description="An OpenAI-compatible embeddings endpoint.")
    access_secret: str = Field("", description="Secret with the key REMOTE_EMBEDDING_ACCESS_SECRET.")


class LocalEmbeddingSpec(Wire):
    image: str = Field("", description="An image that holds the embedding model under /data.")
    image_pull_secret: str = Field("", description="Secret to pull the image with.")
    model_id: str = Field("", alias="modelID", description="An embedding model of the hub, or a folder in the pod.")
    model_access_secret: str = Field("", description="Secret with the key HF_TOKEN, for gated models.")


class EmbeddingSpec(Wire):
    remote: RemoteEmbeddingSpec | None = Field(None, description="Embed elsewhere. Exactly one of remote and local.")
    local: LocalEmbeddingSpec | None = Field(None, description="Embed in the pod. Exactly one of remote and local.")


class InferenceServiceSpec(Wire):
    url: str = Field("", description="The model server that answers; without it the service only retrieves.")
    access_secret: str = Field("", description="Secret with the key LLM_ACCESS_SECRET.")
    context_window_size: int = Field(description="The model's context in tokens.")


class ConfigMapRef(Wire):
    name: str = Field(description="The ConfigMap, in the namespace of the RAGEngine.")


class GuardrailsSpec(Wire):
    enabled: bool = Field(False, description="Check answers before they are given.")
    config_map_ref: ConfigMapRef | None = Field(None, description="Its key guardrails.yaml is the policy.")


class RAGEngineSpec(Wire):
    compute: ResourceSpec | None = Field(
        None, description="The machine; without it any node will do, and no GPU is asked for."
    )
    storage: StorageSpec | None = Field(None, description="Where indexes are kept; without it they end with the pod.")
    embedding: EmbeddingSpec = Field(description="How text becomes vectors. Required.")
    inference_service: InferenceServiceSpec | None = Field(None, description="The model that answers.")
    guardrails: GuardrailsSpec | None = Field(None, description="What answers must not contain.")


class RAGEngineStatus(Wire):
    worker_nodes: tuple[str, ...] = Field((), description="The node that serves the RAGEngine.")
    state: str = Field("", description="Pending, Ready or NotReady.")
    conditions: tuple[ConditionStatus, ...] = Field(
        (),
        description="The latest judgements, one of each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    claims_given_up: ClaimsGivenUp | None = Field(
        None, description="Claims that the node provisioner gave up; the next is asked for after a while."
    )
    blockers: tuple[Blocker, ...] = Field((), description="What the RAGEngine waits for, deepest cause first.")
    timeline: tuple[Stage, ...] = Field((), description="The stages that have been passed, in order.")


class RAGEngine(RootObject):
    spec: RAGEngineSpec = Field(description="What is wanted.")

    @property
    def ref(self) -> ObjectRef:
        return RAGENGINE.ref(self.metadata.namespace, self.metadata.name)

    @property
    def storage(self) -> tuple[str, str]:
        """The PersistentVolumeClaim and where it is mounted; both may be empty. v1alpha1's flat fields count too."""
        storage = self.spec.storage
        if storage is None:
            return "", ""
        volume = storage.persistent_volume
        claim = volume.persistent_volume_claim if volume else storage.persistent_volume_claim
        path = (volume.mount_path if volume else "") or storage.mount_path
        return claim, path


def parse_ragengine(raw: Json) -> RAGEngine | tuple[str, ...]:
    """The RAGEngine, or what is wrong with it, one line per field."""
    return parse_as(RAGEngine, raw)
