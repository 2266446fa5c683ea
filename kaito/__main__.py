"""`python -m kaito` is the `kaito` command."""

from __future__ import annotations

import os
import select
import sys

from kaito.cli import run


def main() -> None:
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread():
            raise  # some other pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        status = 128 + 13  # as a program that SIGPIPE ends
    except KeyboardInterrupt:
        status = 128 + 2
    sys.exit(status)


def _is_unread() -> bool:
    """Whether nobody reads any longer what we print, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # a pipe without a reader is an error, whatever is asked for
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))


if __name__ == "__main__":
    main()
