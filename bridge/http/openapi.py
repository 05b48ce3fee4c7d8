"""`/openapi.json`: OpenAPI 3.1, made from the table of paths and the types its handlers are annotated with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_origin

import msgspec
from starlette.responses import Response

from bridge.http.envelope import Failure, Page, Pagination, Stated
from bridge.http.operation import Operation, Path

_REF = "#/components/schemas/{name}"
_NAME_IN_PATH = re.compile(r"{(\w+)}")


def document(paths: Sequence[Path], server: str, others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The document of these paths; those whose handlers answer with a Response of their own are plain text or files.

    `others`: what the rest of the house says of its routes, each with "paths" and "components"."""
    types = list(dict.fromkeys(kind for path in paths for op in path.operations.values() for kind in _types(op)))
    (*schemas, failure, pagination), components = msgspec.json.schema_components(
        [*types, Failure, Pagination], ref_template=_REF
    )
    schema_of = {_key(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Asterisk Bridge", "version": version("asterisk-bridge")},
        "servers": [{"url": server}],
        "paths": {
            path.template: {
                method.lower(): _operation(path, method, op, schema_of, failure, pagination)
                for method, op in path.operations.items()
            }
            for path in paths
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }
    for other in others:
        made["paths"] |= other["paths"]
        for kind, known in other["components"].items():
            made["components"][kind] |= known
    return made


def _types(operation: Operation) -> list[Any]:
    found = [kind for kind in (operation.params, operation.body) if kind is not None]
    if _enveloped(operation):
        found.append(_item(operation.answer))
    return found


def _enveloped(operation: Operation) -> bool:
    return not (isinstance(operation.answer, type) and issubclass(operation.answer, Response))


def _item(answer: Any) -> Any:
    """The type of `data`: a page's is a list of its items."""
    return list[answer.__args__[0]] if get_origin(answer) is Page else answer


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(
    path: Path,
    method: str,
    operation: Operation,
    schema_of: dict[str, Any],
    failure: dict[str, Any],
    pagination: dict[str, Any],
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}_" + re.sub(r"\W+", "_", path.template).strip("_"),
        "summary": operation.summary,
        "responses": {
            "200": _answer(operation, schema_of, pagination),
            "default": {"description": "Refused, or failed", "content": {"application/json": {"schema": failure}}},
        },
    }
    if operation.roles:
        described["security"] = [{"token": []}]
        described["description"] = "For " + ", ".join(sorted(operation.roles)) + "."
    if operation.params is not None:
        described["parameters"] = _parameters(path, operation.params)
    if operation.body is not None:
        body = schema_of[_key(operation.body)]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


def _answer(operation: Operation, schema_of: dict[str, Any], pagination: dict[str, Any]) -> dict[str, Any]:
    if not _enveloped(operation):
        return {"description": operation.summary}
    properties: dict[str, Any] = {"success": {"const": True}, "data": schema_of[_key(_item(operation.answer))]}
    if get_origin(operation.answer) is Page:
        properties["pagination"] = pagination
    if isinstance(operation.answer, type) and issubclass(operation.answer, Stated):
        properties["status"] = {"type": "string", "description": "That of `data`"}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": operation.summary, "content": {"application/json": {"schema": schema}}}


def _parameters(path: Path, kind: Any) -> list[dict[str, Any]]:
    """Each field of the struct, in the path where its template names it and in the query string otherwise."""
    in_path = set(_NAME_IN_PATH.findall(path.template))
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    schema = components[kind.__name__]
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path or name in required,
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]
