"""python -m kaito.tuning.restore: brings the checkpoint of an evicted pod into the output folder of the next one.

It also finds out, before a GPU has worked for hours, whether the registry can be reached at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kaito.logs import set_up_logs
from kaito.oci.errors import ImageError
from kaito.oci.registry import auth_files
from kaito.tuning.checkpoints import restore
from kaito.tuning.errors import ConfigError
from kaito.tuning.fetch import report
from kaito.tuning.folder import OutputFolder


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m kaito.tuning.restore", description=__doc__)
    add = found.add_argument
    add("--output-dir", type=Path, required=True, metavar="FOLDER", help="the trainer's")
    add("--image", required=True, help="where the adapter will go; its checkpoints are beside it")
    add("--auth-dir", type=Path, metavar="FOLDER", help="folder with docker configurations, *.json")
    add("--termination-log", type=Path, metavar="FILE", help="where the reason of a failure goes as well")
    return found


def main(argv: Sequence[str]) -> int:
    """Runs to the end; returns the exit status (see `kaito.tuning.errors`)."""
    args = parser().parse_args(argv)
    set_up_logs()
    try:
        restore(OutputFolder(args.output_dir), args.image, auth_files(args.auth_dir))
    except ImageError as error:
        return report(error, args.termination_log)
    except ValueError as error:
        return report(ConfigError(str(error)), args.termination_log)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
