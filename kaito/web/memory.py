"""The garbage collector of a server that has loaded what it will keep."""

from __future__ import annotations

import gc

# A request makes a few hundred objects, few of them in cycles. The default collects every 700.
THRESHOLDS = (20_000, 20, 50)


def settle_memory() -> None:
    """Once everything that lives as long as the process is there: it is never looked at again.

    With torch and transformers loaded a full collection walks a million objects, in the middle of everybody's stream.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
