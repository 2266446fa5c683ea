"""What a RAGEngine may say (upstream's section 2.4)."""

from __future__ import annotations

from urllib.parse import urlsplit

from kaito.api.core import CONFIG_MAP
from kaito.api.meta import Json
from kaito.api.ragengine import RAGEngine, parse_ragengine
from kaito.api.workspace import ResourceSpec
from kaito.images import parse_image
from kaito.plan.validate.common import (
    instance_type_findings,
    name_findings,
    reserved_findings,
    selector_findings,
    validate_with,
)
from kaito.plan.validate.rule import Case, Evidence, Findings, Found, Rule, judge
from kaito.plan.validate.violation import Violation, errors_of
from kaito.settings import PlanSettings

POLICY_FILE = "guardrails.yaml"
ENGINES = ("faiss", "qdrant", "milvus", "pgvector")
ANEW = "create a RAGEngine of another name, or delete this one first"


def _embedding(case: Case[RAGEngine]) -> Findings:
    embedding = case.new.spec.embedding
    if (embedding.local is None) == (embedding.remote is None):
        what = "neither local nor remote is given" if embedding.local is None else "both local and remote are given"
        yield Found("spec.embedding", None, what, "give exactly one of the two")
    if (local := embedding.local) is not None:
        if bool(local.image) == bool(local.model_id):
            what = "both image and modelID are given" if local.image else "neither image nor modelID is given"
            yield Found("spec.embedding.local", None, what, "give exactly one of the two")
        elif local.image and (wrong := _image_error(local.image)):
            yield Found("spec.embedding.local.image", local.image, wrong, "write it as registry/name:tag")
    if embedding.remote is not None:
        yield from _url("spec.embedding.remote.url", embedding.remote.url)


def _image_error(text: str) -> str:
    try:
        parse_image(text)
    except ValueError as error:
        return str(error)
    return ""


def _url(field: str, text: str) -> Findings:
    try:
        url = urlsplit(text)
        is_good = url.scheme in ("http", "https") and bool(url.hostname)
    except ValueError:
        is_good = False
    if not is_good:
        yield Found(field, text, "is no address of a server", "write it as http://HOST:PORT/PATH")


def _inference_service(case: Case[RAGEngine]) -> Findings:
    service = case.new.spec.inference_service
    if service is None:
        return
    if service.url:
        yield from _url("spec.inferenceService.url", service.url)
    if service.context_window_size <= 0:
        where = "spec.inferenceService.contextWindowSize"
        yield Found(where, service.context_window_size, "no number of tokens", "give the model's context, more than 0")


def _storage(case: Case[RAGEngine]) -> Findings:
    database = case.new.spec.storage.vector_db if case.new.spec.storage else None
    if database is not None and database.engine not in ENGINES:
        yield Found("spec.storage.vectorDB.engine", database.engine, "not known", f"choose one of {', '.join(ENGINES)}")


def _compute(case: Case[RAGEngine]) -> Findings:
    compute = case.new.spec.compute
    if compute is not None and not compute.instance_type and case.settings.node_provisioner != "byo":
        step = "name an instance type, or leave spec.compute out to run on any node"
        yield Found("spec.compute.instanceType", None, "missing", step)


def _instance_type(case: Case[RAGEngine]) -> Findings:
    compute = case.new.spec.compute
    if compute is not None and case.settings.node_provisioner != "byo":
        yield from instance_type_findings(case, compute.instance_type, "spec.compute.instanceType")


def _guardrails(case: Case[RAGEngine]) -> Findings:
    guardrails, namespace = case.new.spec.guardrails, case.new.metadata.namespace
    if guardrails is None or not guardrails.enabled:
        return
    where = "spec.guardrails.configMapRef"
    if guardrails.config_map_ref is None:
        yield Found(where, None, "missing, and guardrails are enabled", f"name a ConfigMap with the key {POLICY_FILE}")
        return
    name = guardrails.config_map_ref.name
    found = case.view.config_map(namespace, name)
    if found is None and not case.view.is_synced_ref(CONFIG_MAP, namespace, name):
        return
    if found is None or POLICY_FILE not in found.data:
        what = f"there is no ConfigMap {name}" if found is None else f"ConfigMap {name} has no key {POLICY_FILE}"
        step = f"kubectl create configmap {name} -n {namespace} --from-file={POLICY_FILE}, or disable guardrails"
        yield Found(where, name, what, step)


def _name(case: Case[RAGEngine]) -> Findings:
    yield from name_findings(case.new.metadata.name)


def _selector(case: Case[RAGEngine]) -> Findings:
    compute = case.new.spec.compute
    if compute is not None:
        yield from selector_findings(compute.label_selector, "spec.compute.labelSelector")


def _selector_reserved(case: Case[RAGEngine]) -> Findings:
    compute = case.new.spec.compute
    if compute is not None:
        yield from reserved_findings(compute.label_selector, "spec.compute.labelSelector")


def _compute_section(case: Case[RAGEngine]) -> Findings:
    before, after = _computes(case)
    if (before is None) != (after is None):
        yield Found("spec.compute", None, "cannot be added or removed", ANEW)


def _instance_type_change(case: Case[RAGEngine]) -> Findings:
    before, after = _computes(case)
    if before and after and before.instance_type and before.instance_type != after.instance_type:
        why = f"cannot change (it was {before.instance_type!r})"
        yield Found("spec.compute.instanceType", after.instance_type, why, ANEW)


def _selector_change(case: Case[RAGEngine]) -> Findings:
    before, after = _computes(case)
    if before and after and before.label_selector != after.label_selector:
        yield Found("spec.compute.labelSelector", None, "cannot change", ANEW)


def _count_change(case: Case[RAGEngine]) -> Findings:
    before, after = _computes(case)
    if before and after and before.count != after.count:
        yield Found("spec.compute.count", after.count, f"cannot change (it was {before.count})", ANEW)


def _partition_change(case: Case[RAGEngine]) -> Findings:
    before, after = _computes(case)
    if before and after and before.partition != after.partition:
        yield Found("spec.compute.partition", None, "cannot change", ANEW)


def _computes(case: Case[RAGEngine]) -> tuple[ResourceSpec | None, ResourceSpec | None]:
    assert case.old is not None, "rules that compare are asked on update only"
    return case.old.spec.compute, case.new.spec.compute


RAGENGINE_RULES: tuple[Rule[RAGEngine], ...] = (
    Rule("name", _name),
    Rule("embedding", _embedding),
    Rule("inference-service", _inference_service),
    Rule("storage", _storage),
    Rule("compute", _compute),
    Rule("instance-type-known", _instance_type),
    Rule("label-selector", _selector),
    Rule("label-selector-reserved", _selector_reserved),
    Rule("guardrails", _guardrails),
    Rule("compute-immutable", _compute_section, compares=True),
    Rule("instance-type-immutable", _instance_type_change, compares=True),
    Rule("label-selector-immutable", _selector_change, compares=True),
    Rule("count-immutable", _count_change, compares=True),
    Rule("partition-immutable", _partition_change, compares=True),
)


def validate_ragengine(new: Json, old: Json | None, view: Evidence, settings: PlanSettings) -> tuple[Violation, ...]:
    return validate_with(RAGENGINE_RULES, parse_ragengine, new, old, view, settings)


def ragengine_errors(rag: RAGEngine, view: Evidence, settings: PlanSettings) -> tuple[Violation, ...]:
    """What keeps a RAGEngine from being planned."""
    return errors_of(judge(RAGENGINE_RULES, Case(rag, None, view, settings)))
