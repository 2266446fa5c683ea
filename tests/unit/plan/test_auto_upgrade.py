"""InferenceSets that follow the operator's image: one replica at a time, within the window."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import Json
from kaito.api.workloads import STATEFUL_SET
from kaito.plan.actions import Plan
from kaito.plan.inferenceset import plan_inference_set
from kaito.plan.validate.schedule import openings
from tests.builders import moment, stateful_set
from tests.unit.plan.test_inferenceset import REF, SETTINGS, Life

OLD, NEW = "r/inference:1", "r/inference:2"
TAG = "kaito.sh/upgrade-to-version"


class Upgrading(Life):
    """Three replicas that run the old image, under an operator with the new one. START is a Saturday, 12:00 UTC."""

    def __init__(self, *, template: Json | None = None, **upgrade: Any) -> None:
        wish = {"enabled": True} | upgrade
        inference = {"preset": None, "template": template} if template else None
        super().__init__(3, autoUpgrade=wish, inference=inference)
        self.settings = replace(SETTINGS, inference_image=OLD)
        self.settle()
        self.obey()
        self.settle()
        self.settings = replace(SETTINGS, inference_image=NEW)
        assert self.status["readyReplicas"] == 3

    def plan(self, now_s: float = 0) -> Plan:
        return plan_inference_set(self.world, REF, moment(now_s), self.settings)

    def obey(self, *, ready: bool = True) -> None:
        """What the Workspaces' own planner does: the image of those that are new, or are asked to upgrade."""
        tag = self.settings.inference_image.rpartition(":")[2]
        for child in self.children():
            name = child["metadata"]["name"]
            uid = child["metadata"]["uid"]
            known = self.world.bodies.get(STATEFUL_SET.ref("default", name))
            if (
                known is None
                or known["metadata"]["ownerReferences"][0]["uid"] != uid
                or (child["metadata"].get("labels") or {}).get(TAG) == tag
            ):
                owner = {"kind": "Workspace", "name": name, "uid": uid, "controller": True}
                body = stateful_set(name, ownerReferences=[owner])
                body["spec"]["template"]["spec"]["containers"][0]["image"] = self.settings.inference_image
                self.world.put(body)
        if ready:
            self.answer()

    def answer(self) -> None:
        """Every replica is ready."""
        for child in self.children():
            done = {"type": "WorkspaceSucceeded", "status": "True", "observedGeneration": 1}
            self.world.put(child | {"status": {"conditions": [done], "targetNodeCount": 1}})

    def images(self) -> list[str]:
        """Of the replicas that there are, as a sorted list of tags."""
        refs = [STATEFUL_SET.ref("default", child["metadata"]["name"]) for child in self.children()]
        specs = [self.world.bodies[ref]["spec"] for ref in refs if ref in self.world.bodies]
        return sorted(spec["template"]["spec"]["containers"][0]["image"][-1] for spec in specs)

    def fall(self, child: Json) -> None:
        """The replica does not answer."""
        self.world.put(child | {"status": {"conditions": [{"type": "WorkspaceSucceeded", "status": "False"}]}})


def test_in_place_one_replica_after_the_other_is_asked() -> None:
    life = Upgrading()
    for done in (1, 2, 3):
        words = life.settle()
        assert len([word for word in words if word.startswith("PatchRoot")]) == 1
        assert life.settle() == [], "nobody else while one is on its way"
        life.obey()
        assert life.images() == ["1"] * (3 - done) + ["2"] * done
    life.settle(60)
    assert life.status["autoUpgrade"] == {
        "numDriftedWorkspaces": 0,
        "lastSuccessfulUpgradeTime": life.status["autoUpgrade"]["lastSuccessfulUpgradeTime"],
    }
    assert len(life.children()) == 3 and life.settle(1000) == []


def test_a_replica_that_does_not_come_back_stops_the_rest() -> None:
    life = Upgrading()
    life.settle()
    life.obey(ready=False)
    (asked,) = [child for child in life.children() if (child["metadata"].get("labels") or {}).get(TAG)]
    life.fall(asked)
    assert not [word for word in life.settle() if word.startswith(("PatchRoot", "Delete", "Create"))]
    assert life.images() == ["1", "1", "2"] and life.status["autoUpgrade"]["numDriftedWorkspaces"] == 2


def test_a_surge_never_falls_below_the_wanted_number() -> None:
    life = Upgrading(strategy="Surge")
    least = 3
    for _ in range(3):
        words = life.settle()
        assert [word.split()[0] for word in words if "PatchStatus" not in word] == ["Create"]
        assert len(life.children()) == 4 and life.settle() == []
        life.obey()  # the new one answers: an old one goes, and only then the next one comes
        assert [word.split()[0] for word in [word for word in life.act() if "PatchStatus" not in word]] == ["Delete"]
        least = min(least, len(life.children()))
    assert life.images() == ["2"] * 3 and least == 3
    life.settle(1000)
    assert life.settle(1000) == [] and life.status["autoUpgrade"]["numDriftedWorkspaces"] == 0


def test_outside_the_window_nothing_begins_and_it_is_looked_at_again_when_it_opens() -> None:
    window = {"schedule": "0 2 * * 0", "duration": "2h"}  # Sundays; now it is Saturday noon
    life = Upgrading(maintenanceWindow=window)
    assert not [word for word in life.settle() if word.startswith("PatchRoot")]
    assert life.plan().recheck_s == pytest.approx(14 * 3600, abs=2)
    assert life.status["autoUpgrade"]["numDriftedWorkspaces"] == 3
    assert [word for word in life.settle(14 * 3600 + 1) if word.startswith("PatchRoot")]
    life.obey()
    assert not [word for word in life.settle(17 * 3600) if word.startswith("PatchRoot")], "the window has closed"


@pytest.mark.parametrize(
    "upgrade", [{"enabled": False}, {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}]
)
def test_sets_that_do_not_follow_are_left_alone(upgrade: Any) -> None:
    life = Upgrading(**upgrade)
    assert life.settle() == [] and "autoUpgrade" not in life.status


@given(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1)))
def test_the_openings_surround_now(naive: datetime) -> None:
    now = naive.replace(tzinfo=UTC)
    last, following = openings("30 2 * * 6", now)
    assert last is not None and following is not None and last <= now.replace(microsecond=999_999) and now < following
    assert (following - last).days == 7 and last.weekday() == 5 and (last.hour, last.minute) == (2, 30)
    assert openings("0 0 31 2 *", now) == (None, None)
