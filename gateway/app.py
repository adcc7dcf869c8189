"""The Flask application: everything but the ingest path, which is answered before Flask's routing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from connectors import counting
from connectors.log import Log
from connectors.logger import get_logger
from connectors.record import new_request_id
from gateway import metrics
from gateway.answers import Refusal
from gateway.appending import Appender
from gateway.ingest import JSON, PATH, Ingest
from gateway.limits import Quotas
from gateway.openapi import docs_page, openapi_document
from gateway.settings import Settings
from gateway.tokens import TokenStore, tokens_path

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_logger = get_logger()


def create_app(settings: Settings, log: Log | None = None) -> Flask:
    """The gateway as a WSGI application; `log` stands in for the one that the settings name.

    Made in the process that serves it: it opens the token store, the quotas and (on first need) the log.
    """
    app = Flask("gateway", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined] # the default provider has it
    appender = Appender(settings.log, log)
    tokens = TokenStore(tokens_path(settings.data))
    quotas = Quotas(settings.data / "quotas.bin")
    ingest = Ingest(settings, tokens, quotas, appender)
    app.extensions["headrace"] = {"tokens": tokens, "appender": appender, "ingest": ingest}
    flask_app = app.wsgi_app

    def route(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            return ingest(environ, start_response)
        return flask_app(environ, start_response)

    app.wsgi_app = route  # type: ignore[method-assign] # the place that Flask's documentation names for this
    _add_views(app, settings, appender)
    _add_errors(app)
    return app


def _add_views(app: Flask, settings: Settings, appender: Appender) -> None:
    document = openapi_document(settings)
    page = docs_page(document)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        trouble = appender.trouble()
        if trouble is not None:
            raise Refusal("unavailable", f"An event cannot be taken now: {trouble}.", headers=[("Retry-After", "1")])
        return {"status": "ready"}

    @app.get("/metrics")
    def exposition() -> Response:
        return Response(counting.exposition(), content_type=counting.CONTENT_TYPE)

    @app.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return document

    @app.get("/docs")
    def docs() -> Response:
        return Response(page, content_type="text/html; charset=utf-8")

    @app.after_request
    def name_request(response: Response) -> Response:
        response.headers["X-Request-Id"] = new_request_id()
        return response


def _add_errors(app: Flask) -> None:
    @app.errorhandler(Refusal)
    def refused(refusal: Refusal) -> Response:
        metrics.REJECTED.labels(refusal.error).inc()
        return Response(refusal.body(), refusal.status, refusal.headers, content_type=JSON)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if isinstance(error, MethodNotAllowed):
            allowed = ", ".join(sorted(error.valid_methods or []))
            refusal = Refusal("method_not_allowed", f"Use {allowed} for {request.path}.", headers=[("Allow", allowed)])
            return refused(refusal)
        return refused(Refusal("not_found", f"There is nothing at this path; events go to POST {PATH}."))

    @app.errorhandler(Exception)
    def bug(_: Exception) -> Response:
        _logger.exception("a bug in the gateway", path=request.path)
        return refused(Refusal("internal", "A bug in headrace: please report it."))
