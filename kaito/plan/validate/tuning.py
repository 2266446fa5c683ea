"""What a tuning section may say: upstream's rules 24 to 28, for the webhook, `kaito plan` and the planner alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import yaml

from kaito.addresses import refused_host
from kaito.api.meta import Json
from kaito.api.workspace import DataDestination, DataSource, Workspace
from kaito.images import parse_image

METHODS = ("lora", "qlora")
CONFIG_KEY = "training_config.yaml"
ROOT_KEY = "training_config"
SECTIONS = (
    "ModelConfig",
    "QuantizationConfig",
    "LoraConfig",
    "TrainingArguments",
    "DatasetConfig",
    "DataCollator",
)
MOUNT = PurePosixPath("/mnt")
OUTPUT_DIR = "/mnt/output"


def method_of(ws: Workspace) -> str:
    """`lora`, `qlora`, or what else stands there in lower case."""
    return ws.tuning.method.lower() if ws.tuning else ""


def config_errors(text: str, method: str) -> tuple[str, ...]:
    """What is wrong with a training_config.yaml, as far as its outline tells; the trainer checks the rest."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return (f"{CONFIG_KEY}: not YAML: {' '.join(str(error).split())}",)
    if not isinstance(raw, Mapping) or not isinstance(raw.get(ROOT_KEY), Mapping):
        return (f"{CONFIG_KEY}: expected the key {ROOT_KEY} with sections under it",)
    sections = {str(key): value or {} for key, value in raw[ROOT_KEY].items()}
    return tuple(_section_errors(sections, method))


def output_dir_of(text: str) -> str:
    """Where this training_config.yaml wants the result; the default where it does not say, or is not readable."""
    try:
        found = yaml.safe_load(text)[ROOT_KEY]["TrainingArguments"]["output_dir"]
    except (yaml.YAMLError, KeyError, TypeError):
        return OUTPUT_DIR
    return str(found) if _is_below_mount(found) else OUTPUT_DIR


def machine_errors(ws: Workspace) -> Iterator[str]:
    """Rule 24: one whole machine."""
    if ws.resource.count > 1:
        yield f"resource.count: {ws.resource.count}: tuning runs on one node"
    if ws.resource.partition is not None:
        yield "resource.partition: not supported with tuning: it uses whole GPUs"


def source_errors(source: DataSource, field: str) -> Iterator[str]:
    """Rule 27: exactly one of urls, image and volumeSource, and each of them usable."""
    given = [name for name in ("urls", "image", "volume_source") if getattr(source, name)]
    if len(given) != 1:
        found = ", ".join(given).replace("volume_source", "volumeSource") or "none"
        yield f"{field}: expected exactly one of urls, image and volumeSource, found {found}"
    for index, url in enumerate(source.urls):
        if wrong := url_error(url):
            yield f"{field}.urls[{index}]: {url!r}: {wrong}"
    if source.image:
        yield from _image_errors(source.image, f"{field}.image")


def destination_errors(target: DataDestination, field: str) -> Iterator[str]:
    """Rule 28: exactly one of image and volumeSource; an image with the Secret to push it."""
    if bool(target.image) == bool(target.volume_source):
        found = "both" if target.image else "none"
        yield f"{field}: expected exactly one of image and volumeSource, found {found}"
    if target.image:
        yield from _image_errors(target.image, f"{field}.image")
        if not target.image_push_secret:
            yield f"{field}.imagePushSecret: missing: name the Secret with the registry's credentials"


def url_error(url: str) -> str:
    """What keeps a URL from being downloaded; empty when nothing does."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme not in ("http", "https"):
        return f"expected http or https, found {parts.scheme or 'no scheme'}"
    return refused_host(host or "")


def _image_errors(image: str, field: str) -> Iterator[str]:
    try:
        parse_image(image)
    except ValueError as error:
        yield f"{field}: {error}"


def _section_errors(sections: Json, method: str) -> Iterator[str]:
    for name in sections:
        if name not in SECTIONS:
            yield f"{CONFIG_KEY}: {name}: unknown section; expected {', '.join(SECTIONS)}"
        elif not isinstance(sections[name], Mapping):
            yield f"{CONFIG_KEY}: {name}: expected keys with values"
            return
    quantization = sections.get("QuantizationConfig", {})
    widths = {key: quantization.get(key) for key in ("load_in_4bit", "load_in_8bit")}
    for key, value in widths.items():
        if value is not None and not isinstance(value, bool):
            yield f"{CONFIG_KEY}: QuantizationConfig.{key}: {value!r}: expected true or false"
            return
    on = [key for key, value in widths.items() if value]
    if len(on) > 1:
        yield f"{CONFIG_KEY}: QuantizationConfig: load_in_4bit and load_in_8bit are both true: choose one"
    if method == "lora" and on:
        yield f"{CONFIG_KEY}: QuantizationConfig.{on[0]}: true with method lora: remove it, or use method qlora"
    if method == "qlora" and not on:
        yield f"{CONFIG_KEY}: QuantizationConfig: method qlora needs load_in_4bit or load_in_8bit true"
    output_dir = sections.get("TrainingArguments", {}).get("output_dir")
    if output_dir is not None and not _is_below_mount(output_dir):
        yield f"{CONFIG_KEY}: TrainingArguments.output_dir: {output_dir!r}: expected a folder below /mnt"


def _is_below_mount(path: object) -> bool:
    if not isinstance(path, str) or not path:
        return False
    found = PurePosixPath("/", path)
    return ".." not in found.parts and found.is_relative_to(MOUNT) and found != MOUNT
