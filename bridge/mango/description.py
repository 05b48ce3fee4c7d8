"""What the API's description (OpenAPI 3.1) says of the addresses at which Mango Office's webhooks arrive."""

from __future__ import annotations

from typing import Any

from bridge.mango.routes import FLAT_PATH, SIGNED_PATH

_FAILURE = {"$ref": "#/components/schemas/Failure"}
_TEXT = {"type": "string"}
_SIGNED = {
    "type": "object",
    "required": ["vpbx_api_key", "sign", "json"],
    "properties": {
        "vpbx_api_key": _TEXT,
        "sign": {"type": "string", "description": "sha256(vpbx_api_key + json + vpbx_api_salt), in hex"},
        "json": {"type": "string", "description": "The event, as JSON"},
    },
}
_FLAT = {
    "type": "object",
    "required": ["call_id", "status", "vpbx_api_id", "vpbx_api_key"],
    "properties": {
        **dict.fromkeys(
            (
                "call_id",
                "entry_id",
                "from",
                "to",
                "line_number",
                "location",
                "disconnect_reason",
                "record_url",
                "vpbx_api_id",
                "vpbx_api_key",
            ),
            _TEXT,
        ),
        "status": {"enum": ["start", "answer", "end"]},
        "direction": {"enum": ["in", "out"]},
        "duration": {"type": "integer", "description": "Seconds of talk"},
        "timestamp": {"type": "integer", "description": "Seconds since the epoch"},
    },
}


def description() -> dict[str, Any]:
    """Paths and components, to be merged into the document of the rest."""
    return {
        "paths": {
            SIGNED_PATH: {
                "get": {
                    "operationId": "get_mango_webhook",
                    "summary": "Mango Office's check of the connection",
                    "responses": _answers("It is there"),
                },
                "post": {
                    "operationId": "post_mango_webhook",
                    "summary": "A webhook of Mango Office",
                    "description": "Mango appends its own path (`/events/call`, `/result/callback`, …). Answered once "
                    "it is stored.",
                    "requestBody": _body("application/x-www-form-urlencoded", _SIGNED),
                    "responses": _answers("Stored"),
                },
            },
            FLAT_PATH: {
                "post": {
                    "operationId": "post_flat_mango_webhook",
                    "summary": "A webhook of the older, flat dialect",
                    "description": "Answered once it is stored.",
                    "requestBody": _body("application/json", _FLAT),
                    "responses": _answers("Stored"),
                }
            },
            f"{FLAT_PATH}/settings": {
                "get": {
                    "operationId": "get_mango_webhook_settings",
                    "summary": "Where webhooks must be sent, and by which products; secrets masked",
                    "security": [{"token": []}],
                    "responses": _answers("The settings", {"type": "object", "required": ["webhookUrl", "apiUrl"]}),
                }
            },
        },
        "components": {},
    }


def _body(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema}}}


def _answers(said: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]}
    if data is not None:
        schema["properties"]["data"] = data
        schema["required"] = ["success", "data"]
    return {
        "200": {"description": said, "content": {"application/json": {"schema": schema}}},
        "default": {"description": "Refused, or failed", "content": {"application/json": {"schema": _FAILURE}}},
    }
