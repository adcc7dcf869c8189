"""The OpenAPI document is valid, and the live server does what it says."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.answers import STATUS
from tests.gateway.live import STREAM, Gateway

CHECKED = settings(
    max_examples=50,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

# A schema cannot say that a body must be compressed as its Content-Encoding tells, that NDJSON's lines are events, or
# which strings are ISO 8601 date-times: such requests are valid by the document and rightly refused.
UNSAID = [positive_data_acceptance]


def test_the_document_is_valid_openapi_and_names_every_error(gateway: Gateway) -> None:
    document = gateway.ask("GET", "/openapi.json").json
    OpenAPIV31SpecValidator(document).validate()
    described = document["paths"]["/v1/streams/ingest"]["post"]["responses"]
    text = "".join(answer["description"] for answer in described.values())
    assert [code for code in STATUS if f"`{code}`" not in text] == ["not_found", "internal"]


def test_generated_requests_get_the_answers_that_the_document_tells(gateway: Gateway) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    seen: set[int] = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @CHECKED
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            headers = {"Authorization": f"Bearer {gateway.token}", "X-Stream-Id": STREAM}
            seen.add(case.call_and_validate(headers=headers, excluded_checks=UNSAID).status_code)

        check()
    assert {200, 400} <= seen
    assert 500 not in seen
