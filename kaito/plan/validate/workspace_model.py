"""Rules of Workspace: the model, as the hub tells of it, the token that it needs, and how its weights come.

What the hub may yet say otherwise (it does not answer, a licence is to be accepted, a Secret is applied next) is a
warning, and the gate NodesPlanned waits for it. A model that is not there, that no engine serves, or that pods without
a token are to download although it is gated, is an error: the preset of a Workspace cannot be changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.names import STREAMING_ANNOTATIONS
from kaito.api.workspace import PresetSpec, Workspace
from kaito.plan.catalog import Lookup, find_preset, is_hub_name, model_of_status
from kaito.plan.model import (
    access_secret,
    downloads_weights,
    gated_without_token,
    hub_off,
    known_lookup,
    remedy,
)
from kaito.plan.validate.rule import Case, Findings, Found
from kaito.plan.validate.violation import Severity
from kaito.plan.validate.workspace_inference import presets_of
from kaito.plan.validate.workspace_resource import annotation, annotation_path

HEALS: frozenset[str] = frozenset({"gated", "unreachable", "no-token"})
NOT_ASKED = ("disabled", "false")  # annotations of streaming that say that there shall be none


def lookup(case: Case[Workspace]) -> Findings:
    """Upstream's rule 18."""
    for path, preset in _of_the_hub(case):
        if not case.settings.hub_endpoint:
            yield _found(case, path, preset, hub_off(preset.name), "error")
            continue
        found = known_lookup(case.view, case.new.ref, preset.name)
        if found is None:
            why = "is not in the catalogue; not checked: the hub has not been asked"
            yield Found(path, preset.name, why, "", "warning")
        elif found.outcome != "found":
            yield _found(case, path, preset, found, "warning" if found.outcome in HEALS else "error")


def access(case: Case[Workspace]) -> Findings:
    """Upstream's rule 20: a gated model needs a token; weights that nobody downloads need none."""
    for path, preset in presets_of(case.new):
        secret = access_secret(case.new.metadata.namespace, preset)
        downloads = downloads_weights(case.new.metadata.annotations or {}, preset)
        field = f"{path.removesuffix('.name')}.presetOptions.modelAccessSecret"
        if secret is not None and not downloads and find_preset(preset.name):
            why = "the weights are not downloaded, so that no token is needed"
            yield Found(field, secret.name, why, "remove it")
        elif secret is None and _is_closed(case, preset, downloads=downloads):
            gated = gated_without_token(preset.name)
            yield Found(field, None, gated.message, _remedy(case, path, preset, gated))


def streaming(case: Case[Workspace]) -> Findings:
    """Upstream's rule 23, where there is no model streaming: who asks for it gets the weights by download."""
    for key in STREAMING_ANNOTATIONS:
        given = annotation(case, key)
        if given is not None and given not in NOT_ASKED:
            why = "there is no model streaming here; the weights are downloaded, or read where they are"
            yield Found(annotation_path(key), given, why, "remove it", "warning")


def _of_the_hub(case: Case[Workspace]) -> Iterator[tuple[str, PresetSpec]]:
    """The presets that only the hub can tell of. One that was let in is not asked about again."""
    before = {preset.name for _, preset in presets_of(case.old)} if case.old else set()
    for path, preset in presets_of(case.new):
        is_known = find_preset(preset.name) or model_of_status(preset.name, case.new.status)
        if is_hub_name(preset.name) and not is_known and preset.name not in before:
            yield path, preset


def _is_closed(case: Case[Workspace], preset: PresetSpec, *, downloads: bool) -> bool:
    """Whether the hub wants a token for the model: to tell us of it, or to let the pods download it."""
    found = known_lookup(case.view, case.new.ref, preset.name)
    return found is not None and (found.outcome == "gated" or (found.is_gated and downloads))


def _found(case: Case[Workspace], path: str, preset: PresetSpec, lookup: Lookup, severity: Severity) -> Found:
    return Found(path, preset.name, lookup.message, _remedy(case, path, preset, lookup), severity)


def _remedy(case: Case[Workspace], path: str, preset: PresetSpec, lookup: Lookup) -> str:
    return remedy(case.new.metadata.namespace, preset, path.partition(".")[0], lookup, case.settings)
