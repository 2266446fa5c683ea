"""Automatic upgrades: the replicas of an InferenceSet follow the operator's model server image, one after the other.

A Workspace keeps the pods that it was made with (`plan.born`) until somebody asks for new ones; here the InferenceSet
asks, within its maintenance window, and only while every other replica answers. A replica that does not come back stops
the rest: what is broken is broken once. `InPlace` sets the label kaito.sh/upgrade-to-version on a replica; `Surge`
makes one more replica first and takes an old one away when that answers, so that capacity never falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kaito.api.inferenceset import InferenceSet
from kaito.api.meta import Json
from kaito.api.names import UPGRADE_LABEL, UPGRADE_START_ANNOTATION
from kaito.api.workspace import WORKSPACE
from kaito.clock import rfc3339
from kaito.plan.actions import Delete, PatchRoot
from kaito.plan.born import image_of, tag_of
from kaito.plan.ownership import is_child
from kaito.plan.replicas import Replica
from kaito.plan.validate.schedule import duration_s, openings
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView

REASON = "the operator has another model server image"
GRACE_S = 1.0  # asked again a moment after the window opens, never a moment before


@dataclass(frozen=True, slots=True)
class Upgrade:
    """`drifted`: replicas with another image, in uid order. `opens_in_s`: None while the window is open or never is."""

    drifted: tuple[Replica, ...]
    is_surge: bool
    is_open: bool
    opens_in_s: float | None
    tag: str

    @property
    def asked(self) -> tuple[Replica, ...]:
        """Those that were asked, and do not run the new image yet."""
        return tuple(each for each in self.drifted if each.meta.labels.get(UPGRADE_LABEL) == self.tag)

    def surge(self, live: Sequence[Replica], wanted: int, limit: int) -> int:
        """How many replicas there should be: one more while an old one is being replaced."""
        is_begun = len(live) > wanted
        more = self.is_surge and self.drifted and wanted < limit and (is_begun or self.is_open)
        return wanted + (1 if more else 0)


def upgrade_of(
    view: ClusterView, iset: InferenceSet, live: Sequence[Replica], settings: PlanSettings, now: datetime
) -> Upgrade | None:
    """What is to be upgraded; None where the InferenceSet does not follow, or brings pods of its own."""
    wish = iset.spec.auto_upgrade
    if wish is None or not wish.enabled or iset.spec.template.inference.template is not None:
        return None
    drifted = [each for each in live if _image(view, each) not in ("", settings.inference_image)]
    window = wish.maintenance_window
    is_open, opens_in_s = (True, None) if window is None else _window(window.schedule, window.duration, now)
    ordered = tuple(sorted(drifted, key=lambda each: each.uid))
    return Upgrade(ordered, wish.strategy == "Surge", is_open, opens_in_s, tag_of(settings.inference_image))


def _image(view: ClusterView, each: Replica) -> str:
    """What the replica runs; empty where it has no workload of its own yet (one of a former namesake may be left)."""
    found = view.stateful_set(each.ref)
    return image_of(found) if found is not None and is_child(found.metadata, each.uid) else ""


def _window(schedule: str, duration: str, now: datetime) -> tuple[bool, float | None]:
    """Whether it is open, and else in how many seconds it opens. A schedule that is none never opens."""
    last, following = openings(schedule, now)
    length = timedelta(seconds=duration_s(duration) or 0)
    if last is not None and now <= last + length:
        return True, None
    return False, None if following is None else (following - now).total_seconds() + GRACE_S


def upgrade(found: Upgrade, live: Sequence[Replica], wanted: int, now: datetime) -> Iterator[PatchRoot | Delete]:
    """The next step: nothing while a replica is on its way, or does not answer."""
    if not found.drifted or not all(each.is_ready for each in live):
        return
    first = found.drifted[0]
    if len(live) > wanted:  # the new one answers: an old one may go
        yield Delete(WORKSPACE, first.ref, first.uid, REASON)
        return
    if found.asked or not found.is_open or found.is_surge:
        return
    metadata = {
        "labels": {UPGRADE_LABEL: found.tag},
        "annotations": {UPGRADE_START_ANNOTATION: rfc3339(now)},
    }
    yield PatchRoot(WORKSPACE, first.ref, {"metadata": metadata}, first.uid, first.resource_version, REASON)


def upgrade_status(found: Upgrade, prior: Json, now: datetime) -> Json:
    """`status.autoUpgrade`: how many replicas run another image, and when the last of them came to ours."""
    before, count = prior.get("numDriftedWorkspaces") or 0, len(found.drifted)
    status: Json = {**prior, "numDriftedWorkspaces": count}
    if before > 0 and count == 0:
        status["lastSuccessfulUpgradeTime"] = rfc3339(now)
    return status
