"""What the model hub says of the models in `kaito plan`'s documents, put into the world that they are planned in."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from kaito.actors.models import Models
from kaito.api.inferenceset import InferenceSet
from kaito.api.meta import Json, ObjectRef
from kaito.api.workspace import PresetSpec, Workspace
from kaito.cli.hub import open_hub
from kaito.cli.plan_world import World
from kaito.clock import wall_clock
from kaito.kube.client import KubeClient
from kaito.plan.catalog import lookup_text
from kaito.plan.model import access_secret, answer_key, is_asked_of_the_hub, preset_asked
from kaito.settings import PlanSettings
from kaito.state.view import Answer


def models_unknown(world: World, settings: PlanSettings) -> Iterator[tuple[ObjectRef, PresetSpec]]:
    """The models of the documents that only the hub can tell of, and whose they are."""
    for document in world.documents:
        preset, status = _asked(world.graph.root(document.ref) if document.is_root else None)
        if preset is not None and is_asked_of_the_hub(preset, status, settings):
            yield document.ref, preset


async def ask_hub(world: World, settings: PlanSettings, client: KubeClient | None = None) -> None:
    """Asks, with the token of $HF_TOKEN or, in a cluster, with that of the Secret which the preset names."""
    async with open_hub(settings.hub_endpoint, Random()) as hub:
        if hub is None:
            return
        models = Models(client, hub, Random())
        for ref, preset in models_unknown(world, settings):
            found = await models.look_up(preset.name, access_secret(ref.namespace, preset))
            world.graph.record_answer(ref, answer_key(preset.name), Answer(lookup_text(found), wall_clock()))


def _asked(root: object) -> tuple[PresetSpec | None, Json]:
    if isinstance(root, Workspace):
        return preset_asked(root), root.status
    if isinstance(root, InferenceSet):
        return root.spec.template.inference.preset, {}
    return None, {}
