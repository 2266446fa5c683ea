"""Run as a script between the kubelet and a container's command: the command dies with the kubelet.

`launch.py PARENT_PID COMMAND…`. On Linux the kernel is asked to kill this process when its parent ends; the request
outlives exec. Elsewhere the command is only executed, and the next start of the cluster clears what was left.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NOT_FOUND = 127  # what a shell says of a command that there is not
NOT_EXECUTABLE = 126


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel was asked
            sys.exit(NOT_FOUND)
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.stderr.write(f'exec: "{command[0]}": executable file not found in $PATH\n')
        sys.exit(NOT_FOUND)
    except OSError as error:
        sys.stderr.write(f'exec: "{command[0]}": {error.strerror}\n')
        sys.exit(NOT_EXECUTABLE)


if __name__ == "__main__":
    main()
