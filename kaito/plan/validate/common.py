"""What the rules of several kinds share: names, selectors, and how a JSON object is judged by a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from kaito.api.meta import Json
from kaito.api.names import WORKSPACE_NAME_LENGTH_MAX, is_reserved_label
from kaito.api.workspace import LabelSelector
from kaito.plan.catalog import SKU_FILE_KEY, Sku, find_sku, parse_skus, similar_skus
from kaito.plan.validate.rule import Case, Evidence, Findings, Found, Root, Rule, judge
from kaito.plan.validate.violation import Violation
from kaito.settings import PlanSettings

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def validate_with(
    rules: Sequence[Rule[Root]],
    parse: Callable[[Json], Root | tuple[str, ...]],
    new: Json,
    old: Json | None,
    view: Evidence,
    settings: PlanSettings,
) -> tuple[Violation, ...]:
    """What is wrong with the write. An old object that did not fit the schema is no measure for the new one."""
    before = parse(old) if old is not None else None
    found = parse(new)
    if isinstance(found, tuple):
        known = before if isinstance(before, tuple) else ()
        return tuple(_misfit(line, is_known=line in known) for line in found)
    version = str(new.get("apiVersion", "")).rpartition("/")[2]
    return judge(rules, Case(found, None if isinstance(before, tuple) else before, view, settings, version))


def _misfit(line: str, *, is_known: bool) -> Violation:
    field, _, message = line.partition(": ")
    what = "statefulset.spec.template" if field.endswith("inference.template") else ""
    remedy = f"correct it, as `kubectl explain{' ' + what if what else ''}` describes it"
    return Violation("schema", field, None, message or "it does not fit", remedy, "warning" if is_known else "error")


def name_findings(given: str) -> Findings:
    """Pods, Services and their labels carry the name, so all that bounds theirs bounds it."""
    remedy = "create it under another name (a name cannot be changed)"
    if len(given) > WORKSPACE_NAME_LENGTH_MAX:
        why = f"{len(given)} characters, of which pods allow {WORKSPACE_NAME_LENGTH_MAX}"
        yield Found("metadata.name", given, why, remedy)
    elif not DNS_LABEL.fullmatch(given):
        why = "cannot name a Service: lower-case letters, digits and hyphens, beginning with a letter, are expected"
        yield Found("metadata.name", given, why, remedy)


def selector_findings(selector: LabelSelector, where: str) -> Findings:
    """Nodes are to carry these labels, so they must be some that a node can carry."""
    for key, value in selector.match_labels.items():
        prefix, slash, name = key.rpartition("/")
        if not LABEL_NAME.fullmatch(name) or (slash and not LABEL_PREFIX.fullmatch(prefix)):
            remedy = "write it as NAME or PREFIX/NAME: letters, digits, '-', '_' and '.', 63 characters at most"
            yield Found(f"{where}.matchLabels", key, "cannot be the key of a label", remedy)
        if not LABEL_VALUE.fullmatch(value):
            remedy = "use letters, digits, '-', '_' and '.', 63 characters at most"
            yield Found(f"{where}.matchLabels[{key}]", value, "cannot be the value of a label", remedy)
    for index, item in enumerate(selector.match_expressions):
        if item.operator != "In" or len(item.values) != 1:
            seen = f"{item.key} {item.operator} {list(item.values)}"
            path = f"{where}.matchExpressions[{index}]"
            yield Found(path, seen, "only In with one value can choose nodes", "write it as an entry of matchLabels")


def reserved_findings(selector: LabelSelector, where: str) -> Findings:
    labels = selector.match_labels
    if labels and all(is_reserved_label(key) for key in labels):
        why = "all of its labels are reserved for the operator and are not used"
        yield Found(f"{where}.matchLabels", labels, why, "add a label of your own, such as apps: NAME")


def instance_type_findings(case: Case[Root], given: str, where: str) -> Findings:
    """A type that no table has is accepted: the operator's ConfigMap of instance types may yet describe it."""
    cloud = case.settings.cloud_provider
    if not given or find_sku(cloud, given) is not None or given.lower() in _own_types(case):
        return
    own = f"{case.settings.release_namespace}/{case.settings.sku_config_map}"
    similar = ", ".join(similar_skus(cloud, given))
    remedy = f"describe it in ConfigMap {own}" + (f", or did you mean {similar}?" if similar else "")
    yield Found(where, given, f"not known on {cloud}", remedy, "warning")


def _own_types(case: Case[Root]) -> Mapping[str, Sku]:
    """What the user's own ConfigMap describes; a file that makes no sense describes nothing."""
    found = case.view.config_map(case.settings.release_namespace, case.settings.sku_config_map)
    try:
        return parse_skus(found.data.get(SKU_FILE_KEY, "")) if found else {}
    except ValueError:
        return {}
