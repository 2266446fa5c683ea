"""kaito.sh/v1beta1 Workspace: what a user writes and reads. There is no `spec`: the sections stand at top level.

These pydantic models are the one source of the CustomResourceDefinition (`kaito.api.crds`): a field's description is
what `kubectl explain` prints. Fields that upstream declares but ignores are kept, so that its users' YAML stays valid.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from kaito.api.meta import Json, ObjectMeta, ObjectRef, ResourceKind, decoded_text
from kaito.api.shapes import pod_template, volume_source

WORKSPACE = ResourceKind("kaito.sh", "v1beta1", "Workspace", "workspaces", True)

# Schemaless: the API server keeps it as it is.
Opaque = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
PodTemplate = Annotated[Opaque, AfterValidator(pod_template)]
VolumeSource = Annotated[Opaque, AfterValidator(volume_source)]


class Wire(BaseModel):
    """camelCase on the wire, frozen in memory; unknown fields are the API server's business (it prunes or refuses)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        defer_build=True,  # most clusters have roots of one kind: a validator is built when the first of a kind comes
    )


class LabelSelectorRequirement(Wire):
    key: str = Field(description="The label key that the selector applies to.")
    operator: str = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: tuple[str, ...] = Field((), description="The values for In and NotIn; empty for the others.")


class LabelSelector(Wire):
    """Which nodes the Workspace may use. Only matchLabels choose nodes; an expression must be an In of one value."""

    match_labels: dict[str, str] = Field({}, description="Labels that a node must carry.")
    match_expressions: tuple[LabelSelectorRequirement, ...] = Field((), description="Single-valued In expressions.")


class Partition(Wire):
    mode: Literal["mig", "accelerator"] = Field(description="How a GPU is shared.")
    profile: str = Field("", description="The MIG profile, for example 1g.10gb.")
    count: int | None = Field(None, ge=1, description="How many accelerators of the node to use.")


class ResourceSpec(Wire):
    count: int = Field(1, description="Deprecated: the node count follows from the model's memory need.")
    instance_type: str = Field("", description="The instance type of the nodes, for example Standard_NC24ads_A100_v4.")
    label_selector: LabelSelector = Field(description="Which nodes belong to the Workspace. Required.")
    preferred_nodes: tuple[str, ...] = Field(
        (), description="Of the nodes that labelSelector matches, those to use first."
    )
    partition: Partition | None = Field(None, description="Use a part of each GPU or of the node's GPUs.")


class PresetOptions(Wire):
    image: str = Field("", description="Where the weights are, for accessMode private; ignored otherwise.")
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets to pull that image with.")
    model_access_secret: str = Field("", description="Secret with the key HF_TOKEN, for gated models.")


class PresetSpec(Wire):
    name: str = Field(description="A model of the catalogue, one of its aliases, or org/model of the model hub.")
    access_mode: Literal["public", "private"] = Field("public", description="private: the weights are in an image.")
    preset_options: PresetOptions | None = Field(None, description="How the model is fetched.")


class DataSource(Wire):
    name: str = Field("", description="A name that is unique among the sources.")
    urls: tuple[str, ...] = Field((), description="Where to download from.")
    volume_source: VolumeSource | None = Field(None, description="A volume that holds the data (core/v1 VolumeSource).")
    image: str = Field("", description="An image that holds the data under /data.")
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets to pull the image with.")


class DataDestination(Wire):
    volume_source: VolumeSource | None = Field(None, description="A volume to write to (core/v1 VolumeSource).")
    image: str = Field("", description="The image to push.")
    image_push_secret: str = Field("", description="Secret to push the image with.")


class AdapterSpec(Wire):
    source: DataSource | None = Field(None, description="Where the adapter comes from.")
    strength: str = Field("", description="How much of the adapter is applied, 0 to 1 (transformers runtime only).")


class InferenceSpec(Wire):
    preset: PresetSpec | None = Field(None, description="The model to serve. Immutable.")
    template: PodTemplate | None = Field(
        None, description="A pod template instead of a preset (core/v1 PodTemplateSpec)."
    )
    config: str = Field("", description="ConfigMap with the key inference_config.yaml.")
    adapters: tuple[AdapterSpec, ...] = Field((), description="LoRA adapters to serve beside the model.")


class TuningSpec(Wire):
    preset: PresetSpec | None = Field(None, description="The model to fine-tune. Immutable.")
    method: str = Field("", description="lora or qlora. Immutable.")
    config: str = Field("", description="ConfigMap with the key training_config.yaml.")
    input: DataSource = Field(description="The training data. Required.")
    output: DataDestination = Field(description="Where the adapter goes. Required.")


class ConditionStatus(Wire):
    """metav1.Condition."""

    type: str = Field(description="What it is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field("", description="One word, for machines.")
    message: str = Field("", description="What a person should know.")
    last_transition_time: str = Field(
        description="When `status` changed last.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(0, description="The generation of the object that this was judged on.")


class Metric(Wire):
    description: str = Field(description="What was measured.")
    value: str = Field(description="A decimal number.")
    unit: str = Field("", description="The unit of the value.")
    config: dict[str, str] = Field({}, description="How it was measured.")


class Performance(Wire):
    metrics: dict[str, Metric] = Field({}, description="Measurements by name, for example peakTokensPerMinute.")


class Blocker(Wire):
    """One link of the causal chain that `kaito explain` prints; the deepest cause comes first."""

    gate: str = Field(description="The readiness gate that is not open.")
    reason: str = Field(description="One word, for machines.")
    message: str = Field("", description="What is missing or wrong.")
    culprit: str = Field("", description="The object that holds it up, as kind/name.")
    since: str | None = Field(None, description="Since when.", json_schema_extra={"format": "date-time"})
    next_step: str = Field("", description="What to do about it.")


class Stage(Wire):
    stage: str = Field(description="The readiness gate that opened.")
    at: str = Field(description="When it opened.", json_schema_extra={"format": "date-time"})
    message: str = Field("", description="How it came about.")


class RefusedInstanceType(Wire):
    instance_type: str = Field(description="The instance type.")
    reason: str = Field("", description="The node provisioner's reason.")
    message: str = Field("", description="Its words.")
    at: str = Field(description="When it was given up.", json_schema_extra={"format": "date-time"})


class ClaimsGivenUp(Wire):
    """NodeClaims that their provisioner deleted before they had a machine, as Karpenter does without capacity."""

    instance_type: str = Field(description="The instance type that they asked for.")
    times: int = Field(0, description="How often in a row. The wait before the next grows with it.")
    since: str = Field("", description="When the first was created.", json_schema_extra={"format": "date-time"})
    last: str = Field("", description="When the last was given up.", json_schema_extra={"format": "date-time"})
    name: str = Field("", description="The last of them.")
    uid: str = Field("", description="Its uid.")
    reason: str = Field("", description="The node provisioner's reason.")
    message: str = Field("", description="Its words.")


class Progress(Wire):
    """How far a tuning Job has come."""

    step: int = Field(description="Optimizer steps done.")
    steps: int = Field(description="Optimizer steps in all.")
    epoch: str = Field("", description="Passes over the training rows done.")
    loss: str = Field("", description="Training loss, mean over the last logging interval.")
    eval_loss: str = Field("", description="Loss on the rows that are held back.")
    eta_seconds: int | None = Field(None, description="Seconds until the last step at the pace so far.")


class HubModel(Wire):
    """What the model hub said of the model when the node count was decided. It stands, whatever the hub says later."""

    name: str = Field(description="The name that the hub was asked for.")
    model_id: str = Field("", description="The name under which the hub knows it.")
    architecture: str = Field("", description="The class of the model in its config.json.")
    license: str = Field("", description="As its card says.")
    weights_gib: str = Field("", description="Size of the weights in GiB.")
    context_tokens_max: int = Field(0, description="The longest context that it was made for.")
    hidden_size: int = Field(0, description="Width of a layer.")
    layers: int = Field(0, description="Number of layers.")
    attention_heads: int = Field(0, description="Query heads of a layer.")
    kv_heads: int = Field(0, description="Key and value heads of a layer.")
    head_dim: int = Field(0, description="Width of a head.")
    kv_lora_rank: int = Field(0, description="Width of the latent of multi-head latent attention.")
    qk_rope_head_dim: int = Field(0, description="Width of its positional part.")
    quant_method: str = Field("", description="How the weights are quantized.")
    quant_bits: str = Field("", description="Bits of a quantized weight.")
    load_format: str = Field("", description="Layout of the weights, where it is not the usual one.")
    config_format: str = Field("", description="Format of the configuration, where it is not the usual one.")
    tokenizer_mode: str = Field("", description="Kind of tokenizer, where it is not the usual one.")


class WorkspaceStatus(Wire):
    worker_nodes: tuple[str, ...] = Field((), description="The nodes that serve the Workspace.")
    state: str = Field("", description="Pending, Ready or NotReady; for tuning Pending, Running, Succeeded or Failed.")
    conditions: tuple[ConditionStatus, ...] = Field(
        (),
        description="The latest judgements, one of each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    target_node_count: int = Field(
        0, description="How many nodes the model needs.", json_schema_extra={"format": "int32"}
    )
    instance_type: str = Field("", description="The instance type that is asked for, or was given.")
    context_tokens: int = Field(0, description="The context length that the node count was computed for.")
    model: HubModel | None = Field(None, description="A model outside the catalogue, as the hub described it.")
    refused_instance_types: tuple[RefusedInstanceType, ...] = Field(
        (), description="What the cloud had none of, and when; the next of the fallbacks is asked for."
    )
    claims_given_up: ClaimsGivenUp | None = Field(
        None, description="Claims that the node provisioner gave up; the next is asked for after a while."
    )
    performance: Performance | None = Field(None, description="What the server measured of itself after loading.")
    progress: Progress | None = Field(None, description="How far the tuning Job has come.")
    blockers: tuple[Blocker, ...] = Field((), description="What the Workspace waits for, deepest cause first.")
    timeline: tuple[Stage, ...] = Field((), description="The stages that have been passed, in order.")


def _decode_metadata(value: object) -> object:
    """The watch's own metadata type, from JSON as from itself."""
    try:
        return msgspec.convert(value, ObjectMeta) if isinstance(value, dict) else value
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


Metadata = Annotated[SkipJsonSchema[ObjectMeta], BeforeValidator(_decode_metadata)]


def _encode_status(value: object) -> bytes:
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    return msgspec.json.encode(value)


StatusText = Annotated[SkipJsonSchema[bytes], BeforeValidator(_encode_status)]


class RootObject(Wire):
    """What every root has. Its status, which we write, is kept as it was read, as JSON text: a third of the memory of
    what is in it. `status` is decoded each time.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    metadata: Metadata
    status_json: StatusText = Field(b"{}", alias="status")

    @property
    def status(self) -> Json:
        return decoded_text(self.status_json)


class Workspace(RootObject):
    resource: ResourceSpec = Field(description="The machines.")
    inference: InferenceSpec | None = Field(None, description="Serve a model. Exactly one of inference and tuning.")
    tuning: TuningSpec | None = Field(None, description="Fine-tune a model. Exactly one of inference and tuning.")

    @property
    def ref(self) -> ObjectRef:
        return WORKSPACE.ref(self.metadata.namespace, self.metadata.name)


def parse_workspace(raw: Json) -> Workspace | tuple[str, ...]:
    """The Workspace, or what is wrong with it: one line per field with the value seen and what was expected."""
    return parse_as(Workspace, raw)


Model = TypeVar("Model", bound=BaseModel)


def parse_as(model: type[Model], raw: Json) -> Model | tuple[str, ...]:
    """The object of this model, or what is wrong with it: one line per field with the value seen."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        return tuple(
            f"{'.'.join(to_camel(str(part)) for part in item['loc'])}: {_seen(item['input'])}{item['msg']}"
            for item in error.errors(include_url=False)
        )


def _seen(value: object) -> str:
    return "" if isinstance(value, dict | list) else f"{value!r}: "
