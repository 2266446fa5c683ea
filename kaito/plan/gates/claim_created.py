"""Gate: the machines that are needed have been asked for, in the way of the root's provisioner."""

from __future__ import annotations

from kaito.plan.provision import provisioner_of
from kaito.plan.snapshot import Snapshot
from kaito.plan.verdict import Verdict

NAME = "ClaimCreated"
CONDITION = "NodeClaimReady"


def judge(s: Snapshot) -> Verdict | None:
    return provisioner_of(s.view, s.ref, s.settings).judge(s)
