"""Which model a Workspace means: a row of the catalogue, or org/model of the hub with what the hub says of it.

What the hub says is the answer to a `Read`. It counts until the node count is decided: then it is written down in
`status.model` beside it, and stands for as long as the Workspace does. So a restart needs no hub, and a model that
changes on the hub, or goes from it, changes nothing of what runs; a new Workspace sees it as it is then. Until there is
an answer, the blocker that the status remembers is repeated, so that no restart of the operator makes the status waver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol
from urllib.parse import urlsplit

from kaito.api.core import SECRET
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import USE_LOCAL_WEIGHTS_ANNOTATION
from kaito.api.workspace import PresetSpec, Workspace
from kaito.plan.actions import Read
from kaito.plan.catalog import (
    Lookup,
    Preset,
    find_preset,
    is_hub_name,
    model_of_status,
    parse_lookup,
    similar_presets,
)
from kaito.plan.roots import RootMeta
from kaito.plan.verdict import LOOKING_UP, Failed, Waiting
from kaito.settings import PlanSettings
from kaito.state.view import Answer, ClusterView

GATE = "NodesPlanned"
TOKEN_KEY = "HF_TOKEN"
AGAIN_MIN_S = 1.0  # whatever an answer says: nobody asks in a hot loop
UNANSWERED_S = 60.0  # a read that was dropped, or an answer that makes no sense, is asked for again after so long

Trouble = Literal["off", "gated", "missing", "unsupported", "unreachable", "no-token"]
REASONS: Mapping[Trouble, str] = {
    "off": "HubOff",
    "gated": "ModelGated",
    "missing": "ModelNotFound",
    "unsupported": "ModelUnsupported",
    "unreachable": "HubUnreachable",
    "no-token": "ModelAccessSecretUnreadable",
}


class Answers(Protocol):
    def answer(self, root: ObjectRef, key: str) -> Answer | None: ...


def preset_asked(ws: Workspace) -> PresetSpec | None:
    section = ws.inference or ws.tuning
    return section.preset if section else None


def answer_key(name: str) -> str:
    """The key of the `Read` of this model."""
    return f"hub/{name}"


def access_secret(namespace: str, preset: PresetSpec) -> ObjectRef | None:
    """The Secret that the preset names for the hub."""
    name = preset.preset_options.model_access_secret if preset.preset_options else ""
    return SECRET.ref(namespace, name) if name else None


def downloads_weights(annotations: Mapping[str, str], preset: PresetSpec) -> bool:
    """Whether the pods ask the hub for the weights: they are neither on the machine nor in an image."""
    is_in_image = preset.access_mode == "private" and bool(preset.preset_options and preset.preset_options.image)
    return annotations.get(USE_LOCAL_WEIGHTS_ANNOTATION) != "true" and not is_in_image


def known_lookup(view: Answers, root: ObjectRef, name: str) -> Lookup | None:
    """What the hub has answered about this model, as far as the view knows; None while it has not."""
    answer = view.answer(root, answer_key(name))
    if answer is None:
        return None
    return parse_lookup(answer.text) or Lookup("unreachable", answer.error or "the answer makes no sense")


def known_model(view: Answers, root: ObjectRef, status: Json, preset: PresetSpec) -> Preset | None:
    """The model as far as it is known: as decided, of the catalogue, or as the hub says."""
    if found := model_of_status(preset.name, status) or find_preset(preset.name):
        return found
    lookup = known_lookup(view, root, preset.name)
    return lookup.model if lookup else None


def judge_model(view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings) -> Preset | Waiting | Failed:
    """The model, or why it is not known: what is waited for, or what somebody must do."""
    preset, field = preset_asked(ws), "inference" if ws.inference else "tuning"
    name = preset.name if preset else ""
    if found := model_of_status(name, root.status) or find_preset(name):
        return found
    if preset is None or not is_hub_name(name):
        message = f"{field}.preset.name: {name!r} is not in the catalogue, and no name such as org/model"
        return Failed(GATE, "UnknownPreset", message, root.ref, _choose(similar_presets(name)))
    if not settings.hub_endpoint:
        return _verdict(root.ref, preset, field, hub_off(name), settings)
    lookup = known_lookup(view, root.ref, name) or _remembered(root)
    if lookup is None:
        message = f"{settings.hub_endpoint} is being asked about {name}"
        return Waiting(GATE, "HubNotAsked", message, _hub(settings), LOOKING_UP)
    if lookup.is_gated and downloads_weights(root.annotations, preset) and not access_secret("", preset):
        lookup = gated_without_token(name)
    return lookup.model or _verdict(root.ref, preset, field, lookup, settings)


def model_inputs(view: Answers, root: RootMeta, ws: Workspace) -> tuple[object, ...]:
    """All that `judge_model` depends on beside the spec, the annotations and the settings."""
    preset = preset_asked(ws)
    if preset is None or not is_hub_name(preset.name):
        return ()
    return root.status.get("model"), view.answer(root.ref, answer_key(preset.name)), _remembered(root)


def ask_model(
    view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings, now: datetime
) -> Iterator[Read]:
    """The `Read` of a model that is not known, when it is due."""
    preset = _unknown(root, ws, settings)
    if preset is not None and _left_s(view, root.ref, preset.name, now) <= 0:
        target = access_secret(root.ref.namespace, preset) or root.ref
        why = f"{preset.name} is not in the catalogue"
        yield Read(root.ref, answer_key(preset.name), "hub", target, "", why, model=preset.name)


def ask_model_again_s(
    view: ClusterView, root: RootMeta, ws: Workspace, settings: PlanSettings, now: datetime
) -> float | None:
    """Seconds until the hub is to be asked again; None where there is nothing to ask."""
    preset = _unknown(root, ws, settings)
    if preset is None:
        return None
    left_s = _left_s(view, root.ref, preset.name, now)
    return left_s if left_s > 0 else UNANSWERED_S


def hub_off(name: str) -> Lookup:
    return Lookup("off", f"{name} is not in the catalogue, and the model hub is turned off")


def gated_without_token(name: str) -> Lookup:
    """Our token opens it, perhaps; the pods, which download the weights, have none."""
    return Lookup("gated", f"{name} is gated, and its pods have no token to download it with")


def remedy(namespace: str, preset: PresetSpec, field: str, lookup: Lookup, settings: PlanSettings) -> str:
    """What to do about a model that was not found."""
    name, secret = preset.name, access_secret(namespace, preset)
    options = f"{field}.preset.presetOptions.modelAccessSecret"
    match lookup.outcome:
        case "gated" if secret:
            return f"accept its licence at {settings.hub_endpoint}/{name} as the owner of the token in {secret}"
        case "gated":
            return (
                f"accept its licence at {settings.hub_endpoint}/{name}, put your token into a Secret under "
                f"{TOKEN_KEY}, and create the Workspace anew with that Secret named in {options}"
            )
        case "missing" if secret:
            return f"check the name, and whether the token in {secret} may read it"
        case "missing":
            return f"check the name; where the model is private, name a Secret with a token in {options}"
        case "unsupported":
            return "choose another model, or serve it with inference.template"
        case "no-token" if secret:
            made = f"kubectl create secret generic {secret.name} -n {namespace} --from-literal={TOKEN_KEY}=<token>"
            return f"{made}; to let the operator read it, apply the component hub-tokens of its manifests"
        case "off":
            return "name a model of the catalogue (`kaito preset list`), add a row to it, or give --hub-endpoint"
        case _:
            return "check the operator's way to the hub, or its --hub-endpoint; it is asked again by itself"


def _verdict(
    root: ObjectRef, preset: PresetSpec, field: str, lookup: Lookup, settings: PlanSettings
) -> Waiting | Failed:
    assert lookup.outcome != "found", "what was found is no trouble"
    reason, step = REASONS[lookup.outcome], remedy(root.namespace, preset, field, lookup, settings)
    if lookup.outcome == "unreachable":
        return Waiting(GATE, reason, lookup.message, _hub(settings), step)
    secret = access_secret(root.namespace, preset)
    culprit = secret if secret and lookup.outcome in ("gated", "no-token") else root
    return Failed(GATE, reason, lookup.message, culprit, step)


def _remembered(root: RootMeta) -> Lookup | None:
    """What the status says that the hub said, before the operator was started again."""
    for blocker in root.status.get("blockers") or ():
        for outcome, reason in REASONS.items():
            if (blocker.get("gate"), blocker.get("reason")) == (GATE, reason):
                return Lookup(outcome, str(blocker.get("message", "")))
    return None


def is_asked_of_the_hub(preset: PresetSpec, status: Json, settings: PlanSettings) -> bool:
    """Whether only the hub can tell of the model, and may be asked."""
    if not settings.hub_endpoint or not is_hub_name(preset.name):
        return False
    return find_preset(preset.name) is None and model_of_status(preset.name, status) is None


def _unknown(root: RootMeta, ws: Workspace, settings: PlanSettings) -> PresetSpec | None:
    preset = preset_asked(ws)
    return preset if preset and is_asked_of_the_hub(preset, root.status, settings) else None


def _left_s(view: ClusterView, root: ObjectRef, name: str, now: datetime) -> float:
    """Seconds for which the last answer still holds; 0 or less where there is none, or it is old."""
    answer = view.answer(root, answer_key(name))
    if answer is None:
        return 0.0
    lookup = parse_lookup(answer.text)
    again_s = max(lookup.again_s, AGAIN_MIN_S) if lookup and lookup.again_s > 0 else UNANSWERED_S
    return (answer.at + timedelta(seconds=again_s) - now).total_seconds()


def _hub(settings: PlanSettings) -> ObjectRef:
    """The hub is no object of the cluster; it is told of by the name of its host."""
    return ObjectRef("Hub", "", urlsplit(settings.hub_endpoint).netloc or settings.hub_endpoint)


def _choose(similar: tuple[str, ...]) -> str:
    return "choose another model" + (f", such as {', '.join(similar)}" if similar else " (see `kaito preset list`)")
