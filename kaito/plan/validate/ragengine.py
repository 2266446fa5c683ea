"""What a RAGEngine may say (upstream's section 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from kaito.api.core import CONFIG_MAP
from kaito.api.ragengine import RAGEngine
from kaito.images import parse_image
from kaito.plan.validate.common import name_rule, selector_rules
from kaito.plan.validate.rules import Found, Rule, Subject, UpdateRule
from kaito.settings import PlanSettings

POLICY_FILE = "guardrails.yaml"
ENGINES = ("faiss", "qdrant", "milvus", "pgvector")
ANEW = "create a RAGEngine of another name, or delete this one first"


def _embedding(s: Subject[RAGEngine]) -> Found:
    embedding = s.root.spec.embedding
    if (embedding.local is None) == (embedding.remote is None):
        what = "neither local nor remote is given" if embedding.local is None else "both local and remote are given"
        yield "spec.embedding", what, "give exactly one of the two"
    if (local := embedding.local) is not None:
        if bool(local.image) == bool(local.model_id):
            what = "both image and modelID are given" if local.image else "neither image nor modelID is given"
            yield "spec.embedding.local", what, "give exactly one of the two"
        elif local.image and (wrong := _image_error(local.image)):
            yield "spec.embedding.local.image", f"{local.image!r}: {wrong}", "write it as registry/name:tag"
    if embedding.remote is not None:
        yield from _url("spec.embedding.remote.url", embedding.remote.url)


def _image_error(text: str) -> str:
    try:
        parse_image(text)
    except ValueError as error:
        return str(error)
    return ""


def _url(field: str, text: str) -> Found:
    try:
        url = urlsplit(text)
        is_good = url.scheme in ("http", "https") and bool(url.hostname)
    except ValueError:
        is_good = False
    if not is_good:
        yield field, f"{text!r} is no address of a server", "write it as http://HOST:PORT/PATH"


def _inference_service(s: Subject[RAGEngine]) -> Found:
    service = s.root.spec.inference_service
    if service is None:
        return
    if service.url:
        yield from _url("spec.inferenceService.url", service.url)
    if service.context_window_size <= 0:
        where = "spec.inferenceService.contextWindowSize"
        yield where, str(service.context_window_size), "give the model's context in tokens, more than 0"


def _storage(s: Subject[RAGEngine]) -> Found:
    database = s.root.spec.storage.vector_db if s.root.spec.storage else None
    if database is not None and database.engine not in ENGINES:
        yield "spec.storage.vectorDB.engine", repr(database.engine), f"choose one of {', '.join(ENGINES)}"


def _compute(s: Subject[RAGEngine]) -> Found:
    compute = s.root.spec.compute
    if compute is not None and not compute.instance_type and s.settings.node_provisioner != "byo":
        step = "name an instance type, or leave spec.compute out to run on any node"
        yield "spec.compute.instanceType", "missing", step


def _guardrails(s: Subject[RAGEngine]) -> Found:
    guardrails, namespace = s.root.spec.guardrails, s.root.metadata.namespace
    if guardrails is None or not guardrails.enabled:
        return
    where = "spec.guardrails.configMapRef"
    if guardrails.config_map_ref is None:
        yield where, "missing, and guardrails are enabled", f"name a ConfigMap with the key {POLICY_FILE}"
        return
    name = guardrails.config_map_ref.name
    found = s.facts.config_map(namespace, name)
    if found is None and not s.facts.is_synced_ref(CONFIG_MAP, namespace, name):
        return
    if found is None or POLICY_FILE not in found.data:
        what = f"there is no ConfigMap {name}" if found is None else f"ConfigMap {name} has no key {POLICY_FILE}"
        step = f"kubectl create configmap {name} -n {namespace} --from-file={POLICY_FILE}, or disable guardrails"
        yield where, what, step


def _of_compute(judge: Callable[..., Found]) -> Callable[[Subject[RAGEngine]], Found]:
    def rule(s: Subject[RAGEngine]) -> Found:
        if s.root.spec.compute is not None:
            yield from judge(s.root.spec.compute, "spec.compute")

    return rule


def _same_machine(old: RAGEngine, new: RAGEngine, _: PlanSettings) -> Found:
    before, after = old.spec.compute, new.spec.compute
    if (before is None) != (after is None):
        yield "spec.compute", "cannot be added or removed", ANEW
    elif before is not None and after is not None:
        if before.instance_type and before.instance_type != after.instance_type:
            what = f"{before.instance_type!r} cannot become {after.instance_type!r}"
            yield "spec.compute.instanceType", what, ANEW
        if before.label_selector != after.label_selector:
            yield "spec.compute.labelSelector", "cannot be changed", ANEW


RULES: tuple[Rule[RAGEngine], ...] = (
    Rule("name", lambda s: name_rule(s.root.metadata.name)),
    Rule("embedding", _embedding),
    Rule("inferenceService", _inference_service),
    Rule("storage", _storage),
    Rule("compute", _compute),
    *(Rule(id_, _of_compute(judge)) for id_, judge in selector_rules()),
    Rule("guardrails", _guardrails),
)
UPDATE_RULES: tuple[UpdateRule[RAGEngine], ...] = (UpdateRule("u1", _same_machine),)
