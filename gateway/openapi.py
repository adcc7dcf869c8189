"""The OpenAPI 3.1 document of the HTTP API and the page that shows it; codes and limits come from the code itself."""

from __future__ import annotations

import html
import json
from typing import Any

from gateway.answers import MAX_ERRORS, STATUS
from gateway.settings import Settings

_UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_SCHEMA = "#/components/schemas/"
_EXAMPLE = {
    "timestamp": "2025-02-12T14:32:15Z",
    "source": "payments-app",
    "event": {"transactionId": "txn_30921", "status": "approved", "amount": 499},
    "metadata": {"env": "prod"},
}
_MEANING = {
    400: "The request or an event in it is wrong; nothing was taken.",
    401: "No token, or one that is unknown, expired or revoked. Checked before the body is read.",
    403: "The token lacks the `ingest` permission, or is not for this stream.",
    404: "There is no such stream.",
    405: "Only POST.",
    415: "The Content-Type or Content-Encoding is not understood.",
    429: "Over the quota of this token and stream.",
    503: "The log did not acknowledge. Send again, with an Idempotency-Key to be sure of one copy.",
}


def openapi_document(settings: Settings) -> dict[str, Any]:
    """The document for a gateway with these settings."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "headrace", "version": "1", "description": "Send events to streams."},
        "paths": {
            "/v1/streams/ingest": {"post": _ingest(settings.max_body_bytes)},
            "/healthz": {"get": _plain("Whether the process is alive", "healthz", "status")},
            "/readyz": {"get": _plain("Whether an event can be taken", "readyz", "status", fails=True)},
            "/metrics": {"get": _text("Metrics for Prometheus", "metrics", "text/plain")},
            "/openapi.json": {"get": _text("This document", "openapi", "application/json")},
            "/docs": {"get": _text("This document as a page", "docs", "text/html")},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`hr_<id>_<secret>`"}},
            "headers": {"X-Request-Id": {"required": True, "schema": {"type": "string", "format": "uuid"}}},
            "schemas": _schemas(),
        },
    }


def docs_page(document: dict[str, Any]) -> str:
    """A self-contained HTML page of the document."""
    parts = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            rows = "".join(
                f"<tr><td>{status}</td><td>{html.escape(answer['description'])}</td></tr>"
                for status, answer in operation["responses"].items()
            )
            headers = "".join(
                f"<tr><td><code>{parameter['name']}</code></td><td>{html.escape(parameter['description'])}</td></tr>"
                for parameter in operation.get("parameters", [])
            )
            parts.append(
                f"<h2><code>{method.upper()} {path}</code></h2><p>{html.escape(operation['summary'])}. "
                f"{html.escape(operation.get('description', ''))}</p>"
                + (f"<table>{headers}</table>" if headers else "")
                + f"<table>{rows}</table>"
            )
    schemas = html.escape(json.dumps(document["components"]["schemas"], indent=2))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>headrace: HTTP API</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{border-top:1px solid #ccc;padding:.3rem .8rem .3rem 0;vertical-align:top}pre{overflow:auto}</style>"
        f"<h1>headrace: HTTP API</h1>{''.join(parts)}<h2>Schemas</h2><pre>{schemas}</pre></html>"
    )


def _ingest(max_bytes: int) -> dict[str, Any]:
    event = {"$ref": f"{_SCHEMA}Event"}
    return {
        "summary": "Send one event or a batch",
        "operationId": "ingest",
        "description": f"A batch is taken whole or not at all. At most {max_bytes:,} bytes, as sent and as inflated.",
        "security": [{"token": []}],
        "parameters": [
            _header("X-Stream-Id", "The stream's id", {"type": "string", "pattern": _UUID}, required=True),
            _header(
                "Content-Encoding",
                "How the body is compressed",
                {"type": "string", "enum": ["identity", "gzip", "zstd", "deflate"]},
            ),
            _header(
                "Idempotency-Key",
                "A repeat with the same key within the stream's dedupe window leaves one copy of each event",
                {"type": "string", "pattern": "^[!-~]{1,255}$"},
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [event, {"type": "array", "items": event, "minItems": 1}]},
                    "example": _EXAMPLE,
                },
                "application/x-ndjson": {
                    "schema": {"type": "string", "description": "One event a line; blank lines are skipped."},
                    "example": json.dumps(_EXAMPLE) + "\n",
                },
            },
        },
        "responses": {
            "200": _answer("The log has the events.", "Accepted", {name: _integer() for name in _RATE_LIMIT}),
            **{str(status): _error(status, meaning) for status, meaning in _MEANING.items()},
        },
    }


_RATE_LIMIT = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def _error(status: int, meaning: str) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string", "const": "Bearer"}}
    if status == 405:
        headers["Allow"] = {"required": True, "schema": {"type": "string"}}
    if status in (429, 503):
        headers["Retry-After"] = _integer(required=True)
    if status == 429:
        headers |= {name: _integer(required=True) for name in _RATE_LIMIT}
    codes = ", ".join(f"`{code}`" for code, of in STATUS.items() if of == status and code != "not_found")
    return _answer(f"{meaning} {codes}", "Error", headers)


def _answer(description: str, schema: str, headers: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}, **headers},
        "content": {"application/json": {"schema": {"$ref": _SCHEMA + schema}}},
    }


def _integer(*, required: bool = False) -> dict[str, Any]:
    return {"required": required, "schema": {"type": "integer", "minimum": 0}}


def _header(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


def _plain(summary: str, operation: str, field: str, *, fails: bool = False) -> dict[str, Any]:
    schema = {"type": "object", "required": [field], "properties": {field: {"type": "string"}}}
    answers: dict[str, Any] = {"200": {"description": "Yes.", "content": {"application/json": {"schema": schema}}}}
    if fails:
        answers["503"] = _error(503, "The log cannot be written; the detail says why.")
    return {"summary": summary, "operationId": operation, "responses": answers}


def _text(summary: str, operation: str, media_type: str) -> dict[str, Any]:
    schema = {"type": "object"} if media_type == "application/json" else {"type": "string"}
    content = {media_type: {"schema": schema}}
    return {
        "summary": summary,
        "operationId": operation,
        "responses": {"200": {"description": summary, "content": content}},
    }


def _schemas() -> dict[str, Any]:
    codes = {"type": "string", "enum": list(STATUS)}
    return {
        "Event": {
            "type": "object",
            "required": ["source", "event"],
            "properties": {
                "timestamp": {
                    "type": "string",
                    "description": "ISO 8601 date-time; without an offset it is UTC; absent: the time of receipt",
                },
                "source": {"type": "string", "minLength": 1},
                "event": {"type": "object"},
                "metadata": {"type": "object"},
            },
            "additionalProperties": True,
        },
        "Accepted": {
            "type": "object",
            "required": ["status", "ingested_bytes", "stream_id"],
            "properties": {
                "status": {"const": "accepted"},
                "ingested_bytes": {"type": "integer", "minimum": 1, "description": "of the decompressed body"},
                "stream_id": {"type": "string", "format": "uuid"},
                "events": {"type": "integer", "minimum": 1, "description": "only for an array or NDJSON"},
            },
            "additionalProperties": False,
        },
        "Error": {
            "type": "object",
            "required": ["error", "detail"],
            "properties": {
                "error": codes,
                "detail": {"type": "string", "minLength": 1},
                "errors": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_ERRORS,
                    "items": {"$ref": f"{_SCHEMA}BadEvent"},
                    "description": "for a batch: every bad event",
                },
                "more": {"type": "integer", "minimum": 1, "description": f"how many bad events beyond {MAX_ERRORS}"},
            },
            "additionalProperties": False,
        },
        "BadEvent": {
            "type": "object",
            "required": ["index", "path", "error", "detail"],
            "properties": {
                "index": {"type": "integer", "minimum": 0},
                "path": {"type": "string", "description": "`$` is the event, `$.timestamp` a field of it"},
                "error": codes,
                "detail": {"type": "string", "minLength": 1},
            },
            "additionalProperties": False,
        },
    }
