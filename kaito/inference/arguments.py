"""Flags, configuration file and environment to `ServerSettings`.

Precedence, from the weakest: built-in default, command line, `vllm:` of the configuration file. The file wins over the
command line there because the command line is the operator's and the file the user's. Options of our own (`kaito-…`)
are the other way round: default, file, command line. KAITO_BIND_ADDRESS and KAITO_BIND_PORT come over everything: they
are where a local kubelet really put the pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaito.inference.chat_templates import own_template
from kaito.inference.flags import BY_NAME, FLAGS, RETIRED, Flag, convert
from kaito.inference.settings import Limits, ModelSettings, ServerSettings

CONFIG_FLAG, TEMPLATE_FLAG = "kaito-config-file", "chat-template"
DEFAULT_PORT = 5000


class ArgumentError(ValueError):
    """A flag or an entry of the file that cannot be used: its name, its value, and the remedy."""


@dataclass(frozen=True, slots=True)
class Given:
    """One option, from one source. `value` is None for a flag without a value."""

    name: str
    value: Any
    source: str


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> ServerSettings:
    """Raises ArgumentError."""
    command = command_line(argv)
    path = next((str(given.value) for given in reversed(command) if given.name == CONFIG_FLAG), "")
    command = [given for given in command if given.name != CONFIG_FLAG]
    file = read_config(Path(path)) if path else []
    kaito_file = [given for given in file if given.name.startswith("kaito-")]
    ordered = [*_from_environment(environment), *kaito_file, *command, *(g for g in file if g not in kaito_file)]
    if host := environment.get("KAITO_BIND_ADDRESS"):
        ordered.append(Given("host", host, "KAITO_BIND_ADDRESS"))
    if port := environment.get("KAITO_BIND_PORT"):
        ordered.append(Given("port", port, "KAITO_BIND_PORT"))
    return _settings(ordered, environment)


def command_line(argv: Sequence[str]) -> list[Given]:
    """`--name=value`, `--name value …`, `--name`, `--no-name`; names are taken as they are, known or not."""
    found: list[Given] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            raise ArgumentError(f"{word!r}: expected a flag, --NAME=VALUE or --NAME VALUE (--help lists them)")
        name, equals, value = word[2:].partition("=")
        name = name if "." in name else name.replace("_", "-")
        if equals:
            found.append(Given(name, value, "command line"))
            continue
        values = []
        while words and not _is_flag(words[0]):
            values.append(words.pop(0))
        found += _without_equals(name, values)
    return found


def _is_flag(word: str) -> bool:
    return word.startswith("--") and len(word) > 2 and not word[2:3].isspace()


def _without_equals(name: str, values: list[str]) -> list[Given]:
    flag = BY_NAME.get(name)
    if not values:
        return [Given(name, None, "command line")]
    if len(values) > 1 and flag is not None and flag.kind != "list":
        raise ArgumentError(f"--{name}: one value expected, got {' '.join(values)}")
    value = values if len(values) > 1 or (flag is not None and flag.kind == "list") else values[0]
    return [Given(name, value, "command line")]


def read_config(path: Path) -> list[Given]:
    """The file's entries: `vllm` (any of vLLM's flags, without dashes) and our own. Raises ArgumentError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"--{CONFIG_FLAG}: {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ArgumentError(f"--{CONFIG_FLAG}: {path} is not YAML: {error}") from error
    if content is None:
        return []
    if not isinstance(content, dict):
        raise ArgumentError(f"--{CONFIG_FLAG}: {path}: expected a mapping with the key vllm, got {content!r:.80}")
    found: list[Given] = []
    for key, value in content.items():
        if key in ("vllm", "transformers"):
            found += _section(path, key, value)
        elif value is not None:
            name = str(key).replace("_", "-")
            found.append(Given(name if name.startswith("kaito-") else f"kaito-{name}", value, str(path)))
    for given in found:
        if given.name.startswith("kaito-") and given.name not in BY_NAME and given.name not in RETIRED:
            raise ArgumentError(
                f"{path}: {given.name.removeprefix('kaito-')} is not an option (see docs/server-config.md)"
            )
    return found


def _section(path: Path, key: str, value: Any) -> list[Given]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise ArgumentError(f"{path}: {key}: expected a mapping of flags, got {value!r:.80}")
    return [Given(str(name).replace("_", "-"), entry, str(path)) for name, entry in value.items() if entry is not None]


def _from_environment(environment: Mapping[str, str]) -> list[Given]:
    rank = environment.get("LOCAL_RANK", "0")
    found = [Given("port", str(DEFAULT_PORT + int(rank)), "LOCAL_RANK")] if rank.isdecimal() and int(rank) else []
    if key := environment.get("VLLM_API_KEY"):
        found.append(Given("api-key", [key], "VLLM_API_KEY"))
    return found


def _settings(given: list[Given], environment: Mapping[str, str]) -> ServerSettings:
    chosen: dict[str, Given] = {}
    for entry in given:
        chosen.pop(entry.name, None)
        negated = entry.name.removeprefix("no-")
        if entry.name.startswith("no-") and negated in BY_NAME:
            chosen[negated] = Given(negated, False, entry.source)
        else:
            chosen[entry.name] = entry
    if (template := chosen.get(TEMPLATE_FLAG)) and isinstance(template.value, str):
        chosen[TEMPLATE_FLAG] = Given(TEMPLATE_FLAG, own_template(template.value), template.source)
    fields: dict[str, dict[str, Any]] = {"server": {}, "model": {}, "limits": {}}
    for flag in FLAGS:
        if found := chosen.get(flag.name):
            fields[flag.owner][flag.field] = _value(flag, found)
    _adjust(fields, environment)
    return ServerSettings(
        model=ModelSettings(**fields["model"]),
        limits=Limits(**fields["limits"]),
        engine_args=tuple(word for entry in chosen.values() for word in _words(entry)),
        unused=tuple(name for name in chosen if name not in BY_NAME),
        sources=tuple((entry.name, entry.value, entry.source) for entry in chosen.values()),
        **fields["server"],
    )


def _value(flag: Flag, given: Given) -> Any:
    value = given.value
    if value is None:
        if flag.kind != "bool":
            raise ArgumentError(f"--{flag.name}: a value is missing ({flag.help})")
        value = True
    try:
        return convert(flag, value, f"--{flag.name} (from {given.source})")
    except ValueError as error:
        raise ArgumentError(str(error)) from error


def _adjust(fields: dict[str, dict[str, Any]], environment: Mapping[str, str]) -> None:
    model, server = fields["model"], fields["server"]
    if "lora_modules" in model:
        model["lora_modules"] = tuple(_lora_module(entry) for entry in model["lora_modules"])
    for name in ("certificate", "certificate_key", "api_key_file"):
        if name in server:
            server[name] = Path(server[name])
    if ("certificate" in server) != ("certificate_key" in server):
        raise ArgumentError("--ssl-certfile and --ssl-keyfile: both or neither")
    model["weights_dir"] = environment.get("KAITO_WEIGHTS_DIR", "")
    model["tiny_dir"] = environment.get("KAITO_TINY_DIR", "")
    model["tiny_architecture"] = environment.get("KAITO_TINY_ARCHITECTURE", "")


def _lora_module(entry: Any) -> tuple[str, str]:
    if isinstance(entry, str) and entry.startswith("{"):
        try:
            entry = json.loads(entry)
        except ValueError as error:
            raise ArgumentError(f"--lora-modules: {entry!r} is not JSON: {error}") from error
    if isinstance(entry, dict) and entry.get("name") and entry.get("path"):
        return str(entry["name"]), str(entry["path"])
    name, equals, path = str(entry).partition("=")
    if not equals or not name or not path:
        raise ArgumentError(f"--lora-modules: {entry!r}, expected NAME=FOLDER or JSON with name and path")
    return name, path


def _words(given: Given) -> list[str]:
    """The option as vLLM's parser takes it; nothing for our own."""
    flag = BY_NAME.get(given.name)
    if given.name in RETIRED or (flag is not None and not flag.is_vllm):
        return []
    match given.value:
        case None | True:
            return [f"--{given.name}"]
        case False:
            return [f"--no-{given.name}"]
        case dict():
            return [f"--{given.name}={json.dumps(given.value)}"]
        case list() | tuple():
            plain = [value if isinstance(value, str) else json.dumps(value) for value in given.value]
            return [f"--{given.name}", *plain] if flag is not None else [f"--{given.name}={json.dumps(given.value)}"]
        case value:
            return [f"--{given.name}={value}"]
