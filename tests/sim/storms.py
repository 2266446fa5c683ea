"""The storm: two Workspaces, four machines, five minutes of faults. As a module with a SEED it prints the journal."""

from __future__ import annotations

import sys

import anyio

from tests.sim import checkers
from tests.sim.faults import CLASSES
from tests.sim.life import Life, live

STORMY = {"phi": ("phi-3.5-mini-instruct", 1), "llama": ("llama-3.3-70b-instruct", 3)}  # name → model, machines
MACHINES = {name: machines for name, (_, machines) in STORMY.items()}
FAULTS_UNTIL_S = 300.0
CONVERGES_WITHIN_S = 600.0


async def storm(life: Life) -> bytes:
    """Holds every law at the end; returns the journal."""
    life.be_faulty(True)
    for name, (preset, _) in STORMY.items():
        await life.apply(name, preset)
    with anyio.move_on_after(FAULTS_UNTIL_S):
        await rough(life)
    life.be_faulty(False)
    strikes = life.strikes()
    missing = [name for name in CLASSES if not strikes[name]]
    assert not missing, f"a storm without {missing} proves nothing about them: {strikes}"
    await life.until(lambda: all(life.state(name) == "Ready" for name in STORMY), CONVERGES_WITHIN_S)
    await anyio.sleep(400)  # the longest that a silent watch can go unnoticed: its own timeout and the client's margin
    await checkers.hold(life, MACHINES)
    assert life.claims_max == MACHINES, life.claims_max
    return b"".join(life.operator.dump())


async def rough(life: Life) -> None:
    """What happens to the server itself while the faults last: compactions, and streams that fall silent."""
    for replica in life.replicas:
        replica.client.silences_due = 1
    while True:
        await anyio.sleep(life.rng.uniform(5, 60))
        life.server.store.compact(life.server.store.version)


if __name__ == "__main__":
    sys.stdout.buffer.write(live(storm, seed=int(sys.argv[1])))
