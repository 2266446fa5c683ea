"""Keeper: one certificate for all replicas, in a Secret; its authority in the webhook configuration. Rotated in time.

Every replica keeps: whoever finds the Secret missing or old writes a new one on the version that it read; who loses
that race takes the winner's. Replicas change over one after another, so the configuration carries both authorities.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc

from kaito.api.core import SECRET
from kaito.api.meta import Json, ResourceKind
from kaito.clock import Clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from kaito.webhook.certificate import Certificate, certificate_in, is_fresh, make_certificate

CONFIGURATION = ResourceKind(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False
)
SECRET_NAME = "kaito-webhook-cert"
CONFIGURATION_NAME = "kaito-validation"
CHECK_S = 60.0
RETRY_S = 2.0
AUTHORITIES_MAX = 2


class Keeper:
    """`names`: the DNS names that the certificate is for. `context` serves the current one: connections made after a
    rotation get the new one.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        names: Sequence[str],
        now: Clock,
        on_trouble: Callable[[ApiError], None] = lambda _: None,
    ) -> None:
        self._client, self._now, self._on_trouble = client, now, on_trouble
        self._secret = SECRET.ref(namespace, SECRET_NAME)
        self._names = tuple(names)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._current: Certificate | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Started when there is a certificate to serve; the configuration follows as soon as the server lets us."""
        is_started = False
        while True:
            pause_s = CHECK_S
            try:
                await self.settle()
            except ApiError as error:
                self._on_trouble(error)
                pause_s = RETRY_S
            if self._current is not None and not is_started:
                is_started = True
                task_status.started()
            await anyio.sleep(pause_s)

    async def settle(self) -> None:
        """One look: takes, makes or renews the certificate, and puts its authority where the API server reads it."""
        certificate = await self._shared()
        if self._current is None:  # nobody is served yet, and whoever may not write the authority serves all the same
            self._take(certificate)
        await self._tell(certificate)
        if certificate != self._current:  # now that API servers know its authority; they know the former one's, too
            self._take(certificate)

    def _take(self, certificate: Certificate) -> None:
        _load(self.context, certificate)
        self._current = certificate

    async def _shared(self) -> Certificate:
        try:
            secret = await self._client.read(SECRET, self._secret)
        except NotFound:
            made = make_certificate(self._names, self._now())
            metadata = {"name": self._secret.name, "namespace": self._secret.namespace}
            try:
                await self._client.create(
                    SECRET, self._secret.namespace, {"metadata": metadata, "data": made.as_data()}
                )
                return made
            except AlreadyExists:
                return await self._shared()
        found = certificate_in(secret)
        if found is not None and is_fresh(found, self._names, self._now()):
            return found
        made = make_certificate(self._names, self._now())
        patch = {"metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]}, "data": made.as_data()}
        try:
            await self._client.merge_patch(SECRET, self._secret, patch)
            return made
        except Conflict:
            return await self._shared()

    async def _tell(self, certificate: Certificate) -> None:
        ref = CONFIGURATION.ref("", CONFIGURATION_NAME)
        try:
            found = await self._client.read(CONFIGURATION, ref)
        except NotFound:
            return  # an installation without the webhook
        hooks = [with_authority(hook, certificate) for hook in found.get("webhooks") or ()]
        if hooks != found.get("webhooks"):
            version = found["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "webhooks": hooks}
            await self._client.merge_patch(CONFIGURATION, ref, patch)


async def stop_asking(client: KubeClient) -> None:
    """Has API servers go on where nobody answers: an operator that leaves for good must not block what it was asked.

    `kubectl apply -k` makes it strict again.
    """
    ref = CONFIGURATION.ref("", CONFIGURATION_NAME)
    with suppress(NotFound):
        found = await client.read(CONFIGURATION, ref)
        hooks = [hook | {"failurePolicy": "Ignore"} for hook in found.get("webhooks") or ()]
        version = found["metadata"]["resourceVersion"]
        await client.merge_patch(CONFIGURATION, ref, {"metadata": {"resourceVersion": version}, "webhooks": hooks})


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """The names by which API servers call a Service."""
    return (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local")


def with_authority(hook: Json, certificate: Certificate) -> Json:
    """The webhook with the certificate's authority first in its bundle, and the one before it."""
    client = hook.get("clientConfig") or {}
    before = _authorities(client.get("caBundle") or "")
    ours = certificate.ca_pem.strip()
    kept = [ours, *(pem for pem in before if pem != ours)][:AUTHORITIES_MAX]
    bundle = base64.b64encode(b"\n".join(kept) + b"\n").decode()
    return hook | {"clientConfig": client | {"caBundle": bundle}}


def _authorities(bundle: str) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    try:
        text = base64.b64decode(bundle)
    except ValueError:
        return []
    return [part.strip() + b"\n" + end for part in text.split(end) if b"-----BEGIN CERTIFICATE-----" in part]


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    with tempfile.TemporaryDirectory() as folder:  # 0700; the ssl module reads keys from files only
        path = Path(folder) / "server.pem"
        path.touch(0o600)
        path.write_bytes(certificate.key_pem + certificate.cert_pem)
        context.load_cert_chain(path)
