"""The model hub for commands: which one, and a desk in front of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaito.backoff import Chance
from kaito.hub.desk import Desk
from kaito.hub.endpoint import checked_endpoint, endpoint_of_environment
from kaito.settings import HUB_ENDPOINT


def add_hub_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hub-endpoint",
        metavar="URL",
        help=f"the model hub, asked about models outside the catalogue (default: $HF_ENDPOINT, else {HUB_ENDPOINT})",
    )
    parser.add_argument(
        "--no-hub", action="store_true", help="ask no hub, as in an air-gapped network (also: HF_HUB_OFFLINE=1)"
    )


def hub_endpoint(args: argparse.Namespace) -> str:
    """Empty where no hub may be asked. Raises ValueError for an address that is none."""
    if args.no_hub:
        return ""
    return checked_endpoint(args.hub_endpoint) if args.hub_endpoint else endpoint_of_environment()


@asynccontextmanager
async def open_hub(endpoint: str, rng: Chance) -> AsyncIterator[Desk | None]:
    """The hub with the token of $HF_TOKEN; None where none may be asked."""
    if not endpoint:
        yield None
        return
    from kaito.hub.client import HubClient  # brings an HTTP client along

    async with HubClient(endpoint, os.environ.get("HF_TOKEN", "")) as client:
        yield Desk(client, rng)
