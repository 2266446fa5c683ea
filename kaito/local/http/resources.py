"""The verbs of served resources over HTTP: each decodes, calls the core once (atomically) and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from aiohttp import web

from kaito.api.meta import Json
from kaito.clock import Clock
from kaito.local.apiserver import APPLY_PATCH, ApiServer, Resource, StatusError
from kaito.local.apiserver.errors import bad_request, method_not_allowed, no_such_resource
from kaito.local.http import query as queries
from kaito.local.http.admission import Admission
from kaito.local.http.bodies import PATCHES, Shape, decoded, shape_of
from kaito.local.http.protobuf import PROTOBUF, decode_protobuf
from kaito.local.http.respond import answer
from kaito.local.http.tables import PARTIAL, as_partial, as_table
from kaito.local.http.target import Target
from kaito.local.http.watches import Watches

OBJECT_SHAPES = ("Table", PARTIAL)
LIST_SHAPES = ("Table", f"{PARTIAL}List")
WATCH_SHAPES = ("Table", PARTIAL)
Verb: TypeAlias = Callable[[web.Request, Resource, Target], Awaitable[web.StreamResponse]]


class ResourceVerbs:
    """`now` only ages what tables show."""

    def __init__(self, server: ApiServer, watches: Watches, admission: Admission, *, now: Clock) -> None:
        self._server, self._watches, self._admission, self._now = server, watches, admission, now
        self._of_object: dict[str, Verb] = {
            "GET": self._get, "PUT": self._update, "PATCH": self._patch, "DELETE": self._delete, "POST": self._post_to,
        }  # fmt: skip
        self._of_collection: dict[str, Verb] = {
            "GET": self._list, "POST": self._create, "DELETE": self._delete_collection,
        }  # fmt: skip

    async def respond(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Raises StatusError."""
        resource = self._server.registry.find(target.group, target.version, target.plural)
        if target.subresource and target.subresource not in resource.subresources:
            raise no_such_resource()
        if target.namespace and not resource.namespaced:
            raise no_such_resource()
        if resource.namespaced and not target.namespace and (target.name or request.method != "GET"):
            raise method_not_allowed(f"{request.method} {target.plural} without a namespace")
        verbs = self._of_object if target.name else self._of_collection
        verb = verbs.get("GET" if request.method == "HEAD" else request.method)
        if verb is None:
            raise method_not_allowed(request.method)
        return await verb(request, resource, target)

    # Reading.

    async def _get(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        shape = shape_of(request.headers.get("Accept", ""), OBJECT_SHAPES)
        obj = self._server.get(resource, target.namespace, target.name, subresource=target.subresource)
        return self._answer_object(request, resource, obj, shape)

    async def _list(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        query = request.query
        if queries.flag(query, "watch"):
            shape = shape_of(request.headers.get("Accept", ""), WATCH_SHAPES)
            return await self._watches.stream(request, resource, target.namespace, shape)
        shape = shape_of(request.headers.get("Accept", ""), LIST_SHAPES)
        found = self._server.list(
            resource,
            target.namespace,
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
            limit=queries.number(query, "limit") or 0,
            continue_=query.get("continue", ""),
        )
        if shape.as_ == "Table":
            found = as_table(
                resource, found["items"], shape.api_version, self._now(), metadata=found["metadata"],
                include=query.get("includeObject", "Metadata"),
            )  # fmt: skip
        elif shape.as_:
            items = [as_partial(item, shape.api_version) for item in found["items"]]
            found |= {"kind": shape.as_, "apiVersion": shape.api_version, "items": items}
        return answer(found, media_type=shape.media_type)

    def _answer_object(
        self, request: web.Request, resource: Resource, obj: Json, shape: Shape, *, status: int = 200
    ) -> web.Response:
        if shape.as_ and obj.get("kind") == resource.kind:
            if shape.as_ == "Table":
                version = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
                include = request.query.get("includeObject", "Metadata")
                obj = as_table(resource, [obj], shape.api_version, self._now(), metadata=version, include=include)
            else:
                obj = as_partial(obj, shape.api_version)
        return answer(obj, status=status, media_type=shape.media_type, warnings=self._server.warnings)

    # Writing.

    async def _create(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        return await self._post(request, resource, target)

    async def _post_to(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        if target.subresource not in ("binding", "eviction"):
            raise method_not_allowed(f"POST {target.plural}/{target.subresource}".rstrip("/"))
        return await self._post(request, resource, target)

    async def _post(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        shape = shape_of(request.headers.get("Accept", ""), OBJECT_SHAPES)
        body = await read_object(request)
        options = self._options(request)
        make = partial(
            self._server.create, resource, target.namespace, body, name=target.name, subresource=target.subresource
        )
        made = await self._admission.write("CREATE", resource, target, make, options)
        return self._answer_object(request, resource, made, shape, status=201)

    async def _update(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        shape = shape_of(request.headers.get("Accept", ""), OBJECT_SHAPES)
        body = await read_object(request)
        change = partial(
            self._server.update, resource, target.namespace, target.name, body, subresource=target.subresource
        )
        made = await self._admission.write("UPDATE", resource, target, change, self._options(request))
        return self._answer_object(request, resource, made, shape)

    async def _patch(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        shape = shape_of(request.headers.get("Accept", ""), OBJECT_SHAPES)
        content_type = request.content_type
        body = await decoded(await request.read(), content_type, accepted=PATCHES)
        is_apply = content_type == APPLY_PATCH
        is_there = self._server.store.get(resource.key, (target.namespace, target.name)) is not None
        change = partial(
            self._server.patch,
            resource,
            target.namespace,
            target.name,
            body,
            content_type,
            subresource=target.subresource,
            force=queries.flag(request.query, "force"),
        )
        options = self._options(request, is_apply=is_apply)
        made = await self._admission.write("UPDATE" if is_there else "CREATE", resource, target, change, options)
        return self._answer_object(request, resource, made, shape, status=200 if is_there else 201)

    async def _delete(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        if target.subresource:
            raise method_not_allowed(f"DELETE {target.plural}/{target.subresource}")
        shape = shape_of(request.headers.get("Accept", ""), OBJECT_SHAPES)
        options = await self._delete_options(request)
        dry_run = queries.is_dry_run(request.query) or options.get("dryRun") == ["All"]
        await self._admission.delete(resource, target, dry_run=dry_run)
        left = self._server.delete(resource, target.namespace, target.name, options, dry_run=dry_run)
        return self._answer_object(request, resource, left, shape)

    async def _delete_collection(self, request: web.Request, resource: Resource, target: Target) -> web.StreamResponse:
        options = await self._delete_options(request)
        if queries.is_dry_run(request.query) or options.get("dryRun"):
            raise bad_request("dryRun of a deletion of a collection is not supported here")
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        listed = self._server.list(resource, target.namespace, label_selector=labels, field_selector=fields)
        for item in listed["items"]:
            await self._admission.delete(resource, replace(target, name=item["metadata"]["name"]), dry_run=False)
        found = self._server.delete_collection(
            resource, target.namespace, label_selector=labels, field_selector=fields, options=options
        )
        return answer(found)

    async def _delete_options(self, request: web.Request) -> Json:
        found = await read_object(request) if request.can_read_body else {}
        return queries.delete_options(request.query, found)

    def _options(self, request: web.Request, *, is_apply: bool = False) -> dict[str, Any]:
        query = request.query
        agent = request.headers.get("User-Agent", "")
        return {
            "field_manager": queries.field_manager(query, agent, is_apply=is_apply),
            "dry_run": queries.is_dry_run(query),
            "field_validation": queries.field_validation(query),
        }


async def read_object(request: web.Request) -> Json:
    """The body as an object. Raises StatusError 400."""
    data = await request.read()
    if request.content_type == PROTOBUF:
        return decode_protobuf(data)
    body: Any = await decoded(data, request.headers.get("Content-Type", ""))
    if not isinstance(body, dict):
        raise StatusError(400, "BadRequest", f"the body must be an object, not {type(body).__name__}")
    return body
