"""Webhooks: asks the admission webhooks that are registered, as the real server does: mutating ones one after another,
validating ones side by side.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
import msgspec

from kaito.api.meta import Json
from kaito.local.apiserver import ApiServer, Resource, StatusError
from kaito.local.apiserver.json_values import json_patched
from kaito.local.http.webhook_calls import Place, WebhookFailed, call_webhook, selected

MUTATING, VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
GROUP = "admissionregistration.k8s.io"
REVIEW = "admission.k8s.io/v1"
TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write as webhooks see it. `new` None: a deletion."""

    operation: str  # CREATE, UPDATE, DELETE
    resource: Resource
    namespace: str
    name: str
    subresource: str
    old: Json | None
    new: Json | None
    dry_run: bool = False

    @property
    def request(self) -> Json:
        kind = {"group": self.resource.group, "version": self.resource.version, "kind": self.resource.kind}
        plural = {"group": self.resource.group, "version": self.resource.version, "resource": self.resource.plural}
        found: Json = {
            "uid": str(uuid.uuid4()),  # noqa: TID251 (names the call alone)
            "kind": kind,
            "resource": plural,
            "requestKind": kind,
            "requestResource": plural,
            "name": self.name,
            "operation": self.operation,
            "userInfo": {"username": "kaito-local", "groups": ["system:masters", "system:authenticated"]},
            "object": self.new,
            "oldObject": self.old,
            "dryRun": self.dry_run,
            "options": None,
        }
        found |= {"namespace": self.namespace} if self.namespace else {}
        return found | ({"subResource": self.subresource} if self.subresource else {})


@dataclass(slots=True)
class Verdict:
    """What came of it: JSON patches in order, and warnings for the client."""

    patches: list[Json] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Webhooks:
    """`session` makes the calls; `place` says where a port of a Service really listens. Raises StatusError."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession, place: Place) -> None:
        self._server, self._session, self._place = server, session, place

    def concern(self, attempt: Attempt) -> bool:
        """Whether any webhook may want to be asked; what its objectSelector says is not known before the object is."""
        return any(True for plural in (MUTATING, VALIDATING) for _ in self._ruled(plural, attempt))

    async def ask(self, attempt: Attempt) -> Verdict:
        """Raises StatusError when one of them says no, or does not answer and its policy is to fail then."""
        verdict = Verdict()
        new = attempt.new
        for webhook in self._matching(MUTATING, attempt):
            review = await self._call(webhook, attempt, new)
            patch = _patch(webhook, review) if review else []
            if patch and new is not None:
                new = json_patched(new, patch)
                verdict.patches += patch
            verdict.warnings += _warnings(review)
        async with anyio.create_task_group() as tasks:
            answers: list[Json | StatusError | None] = []

            async def ask_one(webhook: Json) -> None:
                try:
                    answers.append(await self._call(webhook, attempt, new))
                except StatusError as error:
                    answers.append(error)

            for webhook in self._matching(VALIDATING, attempt):
                tasks.start_soon(ask_one, webhook)
        for answer in answers:
            if isinstance(answer, StatusError):
                raise answer
            verdict.warnings += _warnings(answer)
        return verdict

    def _matching(self, plural: str, attempt: Attempt) -> Iterator[Json]:
        namespaces = self._server.store.objects.get(("", "namespaces"), {})
        space = namespaces.get(("", attempt.namespace)) if attempt.namespace else None
        for webhook in self._ruled(plural, attempt):
            if selected(webhook, space, attempt.old, attempt.new):
                yield webhook

    def _ruled(self, plural: str, attempt: Attempt) -> Iterator[Json]:
        """Those whose rules name what is attempted."""
        if attempt.resource.group == GROUP:
            return  # nobody may lock himself out
        configurations = self._server.store.objects.get((GROUP, plural), {})
        for place in sorted(configurations):
            for webhook in configurations[place].get("webhooks") or ():
                if _rules_match(webhook, attempt):
                    yield webhook

    async def _call(self, webhook: Json, attempt: Attempt, new: Json | None) -> Json | None:
        """The response of one webhook; None where it failed and that is to be ignored."""
        name = webhook["name"]
        if attempt.dry_run and webhook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise StatusError(400, "BadRequest", f'admission webhook "{name}" does not support dry run')
        request = attempt.request | {"object": new}
        review = {"apiVersion": REVIEW, "kind": "AdmissionReview", "request": request}
        timeout_s = int(webhook.get("timeoutSeconds") or TIMEOUT_S)
        try:
            with anyio.fail_after(timeout_s):
                response = await call_webhook(self._session, self._place, webhook, review)
        except (WebhookFailed, TimeoutError) as error:
            if webhook.get("failurePolicy") == "Ignore":
                return None
            why = str(error) or f"no answer within {timeout_s}s"
            raise StatusError(500, "InternalError", f'failed calling webhook "{name}": {why}') from error
        if not response.get("allowed"):
            status = response.get("status") or {}
            words = status.get("message") or status.get("reason") or "without explanation"
            code = int(status.get("code") or 403)
            reason = str(status.get("reason") or "Forbidden")
            raise StatusError(code, reason, f'admission webhook "{name}" denied the request: {words}')
        return response


def _rules_match(webhook: Json, attempt: Attempt) -> bool:
    resource = attempt.resource
    wanted = f"{resource.plural}/{attempt.subresource}" if attempt.subresource else resource.plural
    is_equivalent = webhook.get("matchPolicy", "Equivalent") == "Equivalent"
    scope = "Namespaced" if resource.namespaced else "Cluster"

    def has(values: Any, value: str) -> bool:
        return bool(values) and ("*" in values or value in values)

    for rule in webhook.get("rules") or ():
        parts = {wanted, "*/*"} | (
            {f"{resource.plural}/*", f"*/{attempt.subresource}"} if attempt.subresource else {"*"}
        )
        if (
            has(rule.get("operations"), attempt.operation)
            and has(rule.get("apiGroups"), resource.group)
            and (is_equivalent or has(rule.get("apiVersions"), resource.version))
            and parts & set(rule.get("resources") or ())
            and rule.get("scope", "*") in ("*", scope)
        ):
            return True
    return False


def _patch(webhook: Json, response: Json) -> list[Json]:
    if not response.get("patch"):
        return []
    try:
        found = msgspec.json.decode(base64.b64decode(response["patch"], validate=True), type=list[dict[str, Any]])
    except (binascii.Error, msgspec.DecodeError, TypeError) as error:
        why = f'failed calling webhook "{webhook["name"]}": its patch is no JSON patch: {error}'
        raise StatusError(500, "InternalError", why) from error
    return found


def _warnings(response: Json | None) -> list[str]:
    return [str(text) for text in (response or {}).get("warnings") or ()]
