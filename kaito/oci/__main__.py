"""python -m kaito.oci pull|push: files out of an image into a folder, or a folder's files into an image."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from kaito.logs import Event, set_up_logs
from kaito.oci.errors import ImageError
from kaito.oci.pull import pull
from kaito.oci.push import push
from kaito.oci.registry import auth_files

BYTES_MAX = 2000 << 30


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m kaito.oci", description=__doc__)
    verbs = found.add_subparsers(dest="verb", required=True)
    pulls = verbs.add_parser("pull", help="files out of an image or artifact")
    pulls.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    pulls.add_argument("--path", default="", metavar="FOLDER", help="only what lies under it in the image")
    pulls.add_argument("--bytes-max", type=int, default=BYTES_MAX, metavar="N", help=f"default {BYTES_MAX}")
    pushes = verbs.add_parser("push", help="a folder's files as an image with them under /data")
    pushes.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER")
    pushes.add_argument("--annotation", action="append", default=[], metavar="KEY=VALUE")
    for each in (pulls, pushes):
        each.add_argument("--image", required=True, metavar="REFERENCE")
        each.add_argument("--auth-dir", type=Path, metavar="FOLDER", help="docker configurations, *.json")
    return found


def main(argv: Sequence[str]) -> int:
    """Runs to the end; returns the exit status (see `kaito.oci.errors`)."""
    args = parser().parse_args(argv)
    set_up_logs()
    log = structlog.get_logger("kaito.oci")
    try:
        secrets = auth_files(args.auth_dir)
        if args.verb == "pull":
            files = pull(args.image, args.into, secrets, path=args.path, bytes_max=args.bytes_max)
            log.info(Event.IMAGE_PULLED, image=args.image, files=len(files))
        else:
            sources = sorted(path for path in args.source.iterdir() if path.is_file())
            annotations = dict(entry.partition("=")[::2] for entry in args.annotation)
            digest = push(args.image, args.source, sources, secrets, annotations=annotations)
            log.info(Event.IMAGE_PUSHED, image=args.image, digest=digest)
    except ImageError as error:
        print(f"kaito.oci: {error}", file=sys.stderr)  # noqa: T201 (the last line of the log, for people)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
