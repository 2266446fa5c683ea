"""The rights of the operator outlive what needs them: every step is allowed when it is taken, however the rest goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kaito.api.core import LEASE
from kaito.api.meta import ResourceKind
from kaito.api.names import UNINSTALL_FINALIZER
from kaito.api.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from kaito.plan.uninstall import (
    FOREGROUND,
    RIGHTS,
    Delete,
    Hang,
    Held,
    Release,
    Step,
    hanging_steps,
    release_steps,
    rights,
    waiting,
)

ACCOUNT = {CLUSTER_ROLE, CLUSTER_ROLE_BINDING, SERVICE_ACCOUNT}
NEEDED = {LEASE: {ROLE, ROLE_BINDING, SERVICE_ACCOUNT}}  # every other object is written by right of the ClusterRole
NAMESPACE = "kaito-workspace"


class Server:
    """The API server and its garbage collector, as far as our objects go. `collect` is a turn of the collector."""

    def __init__(self, *, has_lease: bool = True) -> None:
        self.objects = {
            kind: Held(kind, ref, f"uid-{kind.kind}", "1", (UNINSTALL_FINALIZER,), frozenset(), False, False)
            for kind, ref in rights(NAMESPACE)
        }
        self.objects[LEASE] = replace(self.objects[LEASE], finalizers=())
        if not has_lease:
            del self.objects[LEASE]
        self.is_namespace_leaving = False

    def hang(self) -> Server:
        while steps := hanging_steps(self.held()):
            for step in steps:
                self.take(step)
        return self

    def held(self) -> tuple[Held, ...]:
        return tuple(
            replace(
                each,
                is_leaving=(each.is_terminating and each.kind != LEASE)
                or (self.is_namespace_leaving and each.kind.namespaced),
            )
            for each in self.objects.values()
        )

    def delete(self, kind: ResourceKind) -> None:
        if kind in self.objects:
            self._put(replace(self.objects[kind], is_terminating=True))

    def delete_namespace(self) -> None:
        self.is_namespace_leaving = True
        for kind in [kind for kind in self.objects if kind.namespaced]:
            self.delete(kind)

    def _put(self, held: Held) -> None:
        if held.is_terminating and not held.finalizers:
            del self.objects[held.kind]
        else:
            self.objects[held.kind] = held

    def collect(self) -> None:
        """An owner that waits lets go of a dependant that has other owners, unless that is being deleted already."""
        for held in list(self.objects.values()):
            if FOREGROUND not in held.finalizers:
                continue
            lease = self.objects.get(LEASE)
            if lease is None or held.uid not in lease.owners:
                self._put(replace(held, finalizers=tuple(name for name in held.finalizers if name != FOREGROUND)))
            elif not lease.is_terminating:
                waits = {each.uid for each in self.objects.values() if FOREGROUND in each.finalizers}
                if kept := lease.owners - waits:
                    self.objects[LEASE] = replace(lease, owners=kept)
                else:
                    self.delete(LEASE)

    def take(self, step: Step, *, is_admin: bool = False) -> None:
        """Carries a step out, if the operator has the right to."""
        kind, live = step.held.kind, self.objects[step.held.kind]
        assert is_admin or NEEDED.get(kind, ACCOUNT) <= self.objects.keys(), f"no right to {step}"
        match step:
            case Delete(_, "Foreground"):
                assert live.is_terminating or self.is_namespace_leaving, "nothing is deleted that nobody deleted"
                finalizers = tuple(dict.fromkeys((*live.finalizers, FOREGROUND)))
                self._put(replace(live, finalizers=finalizers, is_terminating=True))
            case Delete():
                assert kind == LEASE and UNINSTALL_FINALIZER in live.finalizers
                self.delete(LEASE)
            case Hang(_, owners):
                added = step.patch["metadata"].get("finalizers", list(live.finalizers))
                assert not live.is_terminating or tuple(added) == live.finalizers
                self._put(replace(live, owners=frozenset(each.uid for each in owners), finalizers=tuple(added)))
            case Release():
                kept = tuple(step.patch["metadata"]["finalizers"])
                assert set(live.finalizers) - set(kept) == {UNINSTALL_FINALIZER}
                self._put(replace(live, finalizers=kept))

    def terminating(self) -> list[str]:
        return [kind.kind for kind, held in self.objects.items() if held.is_terminating]


@settings(max_examples=300)
@given(st.sets(st.sampled_from(RIGHTS)), st.booleans(), st.booleans(), st.data())
def test_every_step_is_allowed_when_it_is_taken_and_nothing_that_is_deleted_stays(
    deleted: set[ResourceKind], with_namespace: bool, is_hung: bool, data: Any
) -> None:
    server = Server()
    if is_hung:
        server.hang()
    else:  # the leader began this very moment
        for step in hanging_steps(server.held()):
            server.take(step)
    if with_namespace:
        server.delete_namespace()
    for kind in sorted(deleted):
        server.delete(kind)
    assert bool(waiting(server.held())) == (with_namespace or bool(deleted))
    for _ in range(60):
        if data.draw(st.booleans()):
            server.collect()
        steps = release_steps(server.held())
        if not steps:
            break
        for step in data.draw(st.permutations(steps))[: data.draw(st.integers(1, len(steps)))]:  # then it crashes
            server.take(step)
            if data.draw(st.booleans()):
                server.collect()
    assert release_steps(server.held()) == () == waiting(server.held())
    for _ in range(3):
        server.collect()
    assert set(server.terminating()) <= {LEASE.kind}
    if with_namespace or deleted:
        assert LEASE.kind not in server.terminating(), "the Lease holds nobody up"
    stays = {kind for kind in RIGHTS if kind not in deleted and not (with_namespace and kind.namespaced)}
    assert stays == server.objects.keys() - {LEASE}, "what nobody deleted stays"


def test_nothing_is_done_while_nothing_is_deleted() -> None:
    server = Server().hang()
    assert server.terminating() == [LEASE.kind] and hanging_steps(server.held()) == ()
    assert release_steps(server.held()) == () == waiting(server.held())


def test_the_lease_is_hung_again_when_a_role_was_made_anew() -> None:
    server = Server().hang()
    server.objects[ROLE] = replace(server.objects[ROLE], uid="another")
    (step,) = hanging_steps(server.held())
    assert isinstance(step, Hang) and "finalizers" not in step.patch["metadata"]
    server.hang()
    assert "another" in server.objects[LEASE].owners


def test_a_lease_is_a_peg_only_for_what_carries_our_finalizer() -> None:
    server = Server()
    for kind in RIGHTS[1:]:
        server.objects[kind] = replace(server.objects[kind], finalizers=("other/one",))
    (step,) = hanging_steps(server.held())
    assert step.patch["metadata"] == {  # type: ignore[union-attr]
        "uid": "uid-Lease",
        "resourceVersion": "1",
        "finalizers": [UNINSTALL_FINALIZER],
        "ownerReferences": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "name": "kaito-operator",
             "uid": "uid-RoleBinding", "blockOwnerDeletion": True}
        ],
    }  # fmt: skip
    server.objects[RIGHTS[0]] = replace(server.objects[RIGHTS[0]], finalizers=())
    assert hanging_steps(server.held()) == ()


def test_the_lease_goes_last_and_alone() -> None:
    server, order = Server().hang(), []
    for kind in RIGHTS:
        server.delete(kind)
    while steps := release_steps(server.held()):
        order.append({(type(step).__name__, step.held.kind) for step in steps})
        for step in steps:
            server.take(step)
            server.collect()
    assert order == [
        {("Delete", kind) for kind in RIGHTS},
        {("Release", kind) for kind in RIGHTS},
        {("Release", LEASE)},
    ]


def test_without_a_lease_an_administrator_can_still_release_everything() -> None:
    server = Server(has_lease=False)
    for kind in RIGHTS:
        server.delete(kind)
    steps = release_steps(server.held())
    assert [step.held.kind for step in steps] == list(RIGHTS) and all(isinstance(step, Release) for step in steps)
    for step in steps:
        server.take(step, is_admin=True)
    assert server.objects == {}
