"""`python -m kaito` is the `kaito` command."""

from __future__ import annotations

import sys

from kaito.cli import run


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
