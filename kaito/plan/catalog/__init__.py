"""What is known of models and machines: data, checked when it is first read."""

from kaito.plan.catalog.lookup import (
    Lookup,
    is_hub_name,
    lookup_text,
    model_of_status,
    model_status,
    parse_lookup,
)
from kaito.plan.catalog.presets import ALIASES, DEPRECATED, Preset, find_preset, presets, similar_presets
from kaito.plan.catalog.sku_file import SKU_FILE_KEY, parse_skus
from kaito.plan.catalog.skus import CLOUDS, Sku, find_sku, find_sku_anywhere, similar_skus, skus

__all__ = [
    "ALIASES",
    "CLOUDS",
    "DEPRECATED",
    "SKU_FILE_KEY",
    "Lookup",
    "Preset",
    "Sku",
    "find_preset",
    "find_sku",
    "find_sku_anywhere",
    "is_hub_name",
    "lookup_text",
    "model_of_status",
    "model_status",
    "parse_lookup",
    "parse_skus",
    "presets",
    "similar_presets",
    "similar_skus",
    "skus",
]
