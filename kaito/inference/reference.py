"""The flags as text: `--help` and docs/server-config.md are made from the same rows."""

from __future__ import annotations

from kaito.inference.flags import FLAGS

INTRODUCTION = """\
usage: python -m kaito.inference --model MODEL [--NAME=VALUE | --NAME VALUE | --NAME] …

Serves a model over OpenAI's API. Flags that only vLLM knows are accepted too: they go to vLLM, or are logged as unused.
"""


def help_text() -> str:
    rows = [(f"--{flag.name}", flag.help) for flag in FLAGS]
    rows.append(("--kaito-config-file", "YAML with the same options (see docs/server-config.md)"))
    width = max(len(name) for name, _ in rows)
    return INTRODUCTION + "\n" + "\n".join(f"  {name.ljust(width)}  {text}" for name, text in sorted(rows)) + "\n"
