"""`kaito uninstall`: finishes an uninstall that waits for an operator which does not run any more.

It deletes nothing that was not asked to go: `kubectl delete -k` does the asking. It is the operator itself, told to
stop before it starts, with the rights of whoever calls it.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from random import Random

import anyio

from kaito.actors.outcome import Outcome, Settled
from kaito.actors.queue import WorkItem
from kaito.actors.roster import plan_root
from kaito.actors.uninstall import ROOT_KINDS, Uninstall
from kaito.api.core import LEASE
from kaito.api.meta import ObjectRef
from kaito.api.names import CLAIM_LABELS, POOL_LABELS
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.cli.clients import find_kubeconfig, open_client
from kaito.cli.rbac import NAMESPACE
from kaito.cli.signals import run_until_signal
from kaito.clock import wall_clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, NotFound
from kaito.kube.leadership import LOCK_NAME, Leadership
from kaito.operator import Operator
from kaito.plan.actions import PatchRoot, Plan
from kaito.settings import PlanSettings
from kaito.state.graph import StateGraph
from kaito.state.view import ClusterView
from kaito.webhook.keeper import stop_asking

NOTHING = "nothing is being removed; begin with: kubectl delete -k manifests/ --wait=false"

LEADS = "{} leads; if it does not run any more, its Lease ends within a minute"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="F", help="default: $KUBECONFIG, .kaito/kubeconfig, ~/.kube/config")
    parser.add_argument("--namespace", default=NAMESPACE, metavar="NS", help=f"the operator's (default: {NAMESPACE})")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="give up after so long (default: 120)"
    )


def run(args: argparse.Namespace) -> int:
    try:
        status, was_told = run_until_signal(partial(_finish, args))
    except (ValueError, ApiError) as error:
        print(f"kaito uninstall: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 130 if was_told else status


async def _finish(args: argparse.Namespace) -> int:
    if args.timeout <= 0:
        raise ValueError(f"--timeout {args.timeout:g}: expected a number of seconds above 0")
    client = await open_client(find_kubeconfig(args.kubeconfig))
    try:
        return await finish_uninstall(client, args.namespace, within_s=args.timeout, tell=print)
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()


async def finish_uninstall(client: KubeClient, namespace: str, *, within_s: float, tell: Callable[[str], None]) -> int:
    """Exit status: 0 when nothing waits any more, 1 when something does, 2 when nothing is being removed."""

    def observe(item: WorkItem, plan: Plan, outcome: Outcome, _seconds: float) -> None:
        if not isinstance(outcome, Settled):
            tell(f"{item.ref}: {outcome.error}")
        elif any(isinstance(action, PatchRoot) for action in plan.actions):
            tell(f"{item.ref} is released")

    identity = f"kaito-uninstall_{socket.gethostname()}_{os.getpid()}"
    leadership = Leadership(
        client,
        namespace=namespace,
        identity=identity,
        now=wall_clock,
        rng=Random(),
        changed=lambda: operator.runner.wake(),  # noqa: PLW0108 (made below)
        on_trouble=lambda error: tell(f"the Lease of the operator: {error}"),
    )
    holder = await _holder(client, namespace)
    may_write = leadership.may_write if holder is not None else lambda _deadline_s: True
    operator = Operator(
        client,
        PlanSettings(),
        now=wall_clock,
        rng=Random(),
        planner=_plan_leaving,
        may_write=may_write,
        observe=observe,
    )
    uninstall = Uninstall(
        client,
        operator.view,
        namespace=namespace,
        may_write=may_write,
        prepare=lambda: stop_asking(client),
        began=lambda scene: tell(f"being removed: {', '.join(kind.plural for kind in scene.leaving) or namespace}"),
        on_trouble=lambda error: tell(f"tried again: {error}"),
    )
    if holder:
        tell(LEADS.format(holder))
    async with anyio.create_task_group() as tasks:
        if holder is not None:
            await tasks.start(leadership.run)
        tasks.start_soon(operator.run)
        left = await uninstall.run(within_s=within_s)
        tasks.cancel_scope.cancel()
    if left is None:
        tell(NOTHING)
        return 2
    for line in (*_machines(operator.graph), *map(_left, left)):
        tell(line)
    return 1 if left else 0


def _left(ref: ObjectRef) -> str:
    is_root = any(kind.kind == ref.kind for kind in ROOT_KINDS)
    return f"{ref} still waits" + (
        f": kaito explain {ref.kind.lower()}/{ref.name} -n {ref.namespace}" if is_root else ""
    )


async def _holder(client: KubeClient, namespace: str) -> str | None:
    """Who holds the operator's Lease, empty: nobody; None: there is none, and nobody to agree with."""
    try:
        lease = await client.read(LEASE, LEASE.ref(namespace, LOCK_NAME))
    except NotFound:
        return None
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _plan_leaving(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the operator would do for a root that goes with its kind; nothing for any other."""
    is_leaving = any(view.is_leaving(kind) for kind in ROOT_KINDS if kind.kind == ref.kind)
    return plan_root(view, ref, now, settings) if is_leaving else Plan(ref)


def _machines(graph: StateGraph) -> Iterator[str]:
    """The claims of ours that are on their way out: whose machines cost money until a provisioner has released them."""
    keys = {pair[0] for pair in (*CLAIM_LABELS.values(), *POOL_LABELS.values())}
    for _, claim in sorted(graph.stores[NODE_CLAIM].items(), key=lambda item: item[0]):
        if isinstance(claim, NodeClaim) and keys & (claim.metadata.labels or {}).keys():
            name, held = claim.metadata.name, ", ".join(claim.metadata.finalizers)
            node = f" (node {claim.status.node_name})" if claim.status.node_name else ""
            state = "on its way out" if claim.metadata.deletion_timestamp else "not deleted"
            yield f"NodeClaim {name}{node} is {state}, held by {held or 'nobody'}: its provisioner releases the machine"
