"""The options as text: `--help` and docs/server-config.md are made from the same rows.

`python -m kaito.inference.reference > docs/server-config.md` writes the page anew.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

from kaito.inference.flags import FLAGS, RETIRED, Flag
from kaito.inference.settings import Limits, ModelSettings, ServerSettings

INTRODUCTION = """\
usage: python -m kaito.inference --model MODEL [--NAME=VALUE | --NAME VALUE | --NAME] …

Serves a model over OpenAI's API. Flags that only vLLM knows are accepted too: they go to vLLM, or are logged as unused.
"""
PAGE = """\
# Options of the model server

Made from `kaito/inference/flags.py` by `python -m kaito.inference.reference`; a test keeps it equal.

On the command line an option is `--NAME=VALUE` or `--NAME VALUE`; one that is true or false is `--NAME` or `--no-NAME`.
In the file of `--kaito-config-file` the same options have YAML's own types: numbers, booleans, lists and mappings.
vLLM's stand under `vllm:` without dashes; ours stand beside it, without `kaito-`. A null entry counts as absent.

```yaml
vllm:
  max-model-len: 8192
  enable-prefix-caching: false
queue_max: 64
```

Precedence, from the weakest: default, command line, `vllm:` of the file. The file wins there because the command line
is the operator's and the file is the user's. Options of our own (`kaito-…`): default, file, command line.
KAITO_BIND_ADDRESS and KAITO_BIND_PORT come over `--host` and `--port`, and the default port is 5000 + LOCAL_RANK.
Every option, its value and where it came from is logged at start.
"""


def help_text() -> str:
    rows = [(f"--{flag.name}", flag.help) for flag in FLAGS]
    rows.append(("--kaito-config-file", "YAML with the same options (see docs/server-config.md)"))
    width = max(len(name) for name, _ in rows)
    return INTRODUCTION + "\n" + "\n".join(f"  {name.ljust(width)}  {text}" for name, text in sorted(rows)) + "\n"


def page() -> str:
    ours = [flag for flag in FLAGS if not flag.is_vllm]
    both = [flag for flag in FLAGS if flag.is_vllm]
    return "\n".join(
        [
            PAGE,
            "## Options that both engines know",
            "",
            *_table(both),
            "",
            "## Options of this server",
            "",
            *_table(ours),
            "",
            f"Accepted from older command lines, without effect: {', '.join(f'`--{name}`' for name in RETIRED)}.",
            "",
        ]
    )


def _table(flags: list[Flag]) -> list[str]:
    rows = ["| Option | Default | What |", "|---|---|---|"]
    return rows + [f"| `--{flag.name}` | {_default(flag)} | {_text(flag)} |" for flag in flags]


def _text(flag: Flag) -> str:
    choices = f" ({', '.join(flag.choices)})" if flag.choices else ""
    return (flag.help + choices).replace("|", "\\|")


def _default(flag: Flag) -> str:
    owner: Any = {"server": ServerSettings, "model": ModelSettings, "limits": Limits}[flag.owner]
    value = next(field.default for field in fields(owner) if field.name == flag.field)
    return "" if value is None or value in ("", ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
