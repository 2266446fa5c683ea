"""Renders docs/images/run.svg: what `make demo ONCE=1` shows on a terminal, captured from a real run.

    python docs/images/capture.py

The demo runs on a pseudo terminal; of what it draws anew in place, the last picture is kept.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 150, 100
TARGET = Path(__file__).with_name("run.svg")
COMMAND = [sys.executable, "-m", "kaito", "demo", "--once"]
TITLE = "make demo ONCE=1"
CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r\n|\n|\r)")


def captured() -> str:
    """Everything that the demo writes to its terminal. Raises CalledProcessError when it fails."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(COMMAND, stdin=follower, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    data = b""
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # the other end is closed: Linux says EIO
            break
        if not piece:
            break
        data += piece
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, COMMAND, data)
    return data.decode(errors="replace")


def last_picture(text: str) -> list[str]:
    """The lines as they stand at the end: cursor movements are carried out, colours stay as they are."""
    lines, row = [""], 0
    place = 0
    for match in CONTROL.finditer(text):
        lines[row] += text[place : match.start()]
        place = match.end()
        count, command, line_end = match[1], match[2], match[3]
        if line_end:
            if "\n" in line_end:
                row += 1
                if row == len(lines):
                    lines.append("")
        elif command == "A":
            row = max(0, row - int(count or 1))
        elif command == "K":
            lines[row] = ""
        elif command == "m":
            lines[row] += match[0]
    lines[row] += text[place:]
    return lines


def main() -> None:
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    console.print(f"[bold green]$[/] {TITLE}")
    for line in last_picture(captured()):
        console.print(Text.from_ansi(line))
    console.save_svg(str(TARGET), title=TITLE)


main()
