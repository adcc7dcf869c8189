"""Every mistake is told, at its place, with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import InvalidConfig, Problem, load, render_rows, render_text

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]

TEN_MISTAKES = """\
log:
  kafka: {bootstrap_server: "localhost:9092"}
destinations:
  lake: {type: delta, uri: "s3://events/{strem}"}
  files: {type: detla, uri: ./files}
streams:
  payments:
    id: 12345
    limits: {requests_per_second: many, bytes_per_second: 50XB}
    types: {event.amount: DECIMAL(99,2)}
    steps:
      - filter: event.status IS DISTINCT FORM 'healthcheck'
      - set: {event.x: status + 1}
      - mask: {event.card: lst4}
    routes:
      - {when: random() > 0.5, to: [lkae]}
    colour: blue
    dedupe_window: 10
"""

PLACES = [
    (2, 10, "log.kafka", "missing: 'bootstrap_servers'"),
    (2, 11, "log.kafka.bootstrap_server", "unknown key"),
    (4, 28, "destinations.lake.uri", "{strem}"),
    (5, 17, "destinations.files.type", "unknown type 'detla'"),
    (8, 9, "streams.payments.id", "expected a UUID"),
    (9, 35, "streams.payments.limits.requests_per_second", "expected a number, got 'many'"),
    (9, 59, "streams.payments.limits.bytes_per_second", "expected a size"),
    (10, 27, "streams.payments.types.event.amount", "'DECIMAL(99,2)' is not a type"),
    (12, 42, "streams.payments.steps[0].filter", "FORM"),
    (13, 24, "streams.payments.steps[1].set.event.x", "'status'"),
    (14, 28, "streams.payments.steps[2].mask.event.card", "'lst4' is none of"),
    (16, 16, "streams.payments.routes[0].when", "random"),
    (16, 37, "streams.payments.routes[0].to[0]", "unknown destination 'lkae'"),
    (17, 5, "streams.payments.colour", "unknown key 'colour'"),
    (18, 20, "streams.payments.dedupe_window", "without its unit"),
]


def test_a_file_with_many_mistakes_gives_all_of_them_with_line_and_column(problems: Problems) -> None:
    found = problems(TEN_MISTAKES)
    assert [(p.line, p.column, p.path) for p in found] == [place[:3] for place in PLACES]
    for problem, (*_, words) in zip(found, PLACES, strict=True):
        assert words in problem.message
        assert problem.severity == "error"


SENT = f"""\
destinations:
  search: {{type: elasticsearch, url: "es:9200", index: "{{event.x}}", username: me}}
  siem: {{type: splunk_hec, url: "https://siem:8088?x=1", token: "${{TOKEN}}", fields: {{a: "{{b", stream: x}}}}
  siem2: {{type: syslog, address: "siem:6514", severity: loud, cef: {{vendor: headrace}}}}
  alerts: {{type: http, url: "ftp://x", headers: {{Host: y, "a b": z}}}}
  topic: {{type: kafka, bootstrap_servers: "", key: offset}}
  dw: {{type: snowflake, account: a, database: "E V", table: "{{x}}"}}
streams:
  web: {{id: {ID}, routes: [{{to: [search, siem, siem2, alerts, topic, dw]}}]}}
"""


def test_all_that_is_wrong_with_a_destination_is_told_at_once_each_at_its_key(problems: Problems) -> None:
    found = problems(SENT, TOKEN="two words")
    assert [(p.line, p.path.removeprefix("destinations."), p.message) for p in found] == [
        (2, "search.url", "neither http:// nor https://"),
        (2, "search.index", "events could choose any name"),
        (2, "search.username", "goes with a password"),
        (3, "siem.url", "a query or a user has no place in it"),
        (3, "siem.token", "empty, or with characters that no token has"),
        (3, "siem.fields", "stream is always there"),
        (3, "siem.fields.a", "'{b': a brace belongs to a field, such as {source} or {event.host}"),
        (4, "siem2.address", "neither tcp:// nor tls://"),
        (4, "siem2.severity", "unknown 'loud'"),
        (5, "alerts.url", "neither http:// nor https://"),
        (5, "alerts.headers", "'a b' is no name of a header"),
        (5, "alerts.headers", "Host is headrace's to set"),
        (6, "topic.bootstrap_servers", "is empty"),
        (6, "topic.key", "'offset' is no part of an event"),
        (7, "dw", "password: missing; sign in with a password, a private_key_file or a token"),
        (7, "dw.database", "is no name"),
        (7, "dw.table", "only {stream} can stand in it, for the stream's name"),
    ]
    assert not any("two words" in f"{p.message} {p.suggestion}" for p in found)


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (
            'syslog, address: "siem:6514", severity: loud, cef: {vendor: "{b", extensions: {a b: x}}',
            ["address", "cef.extensions", "cef.vendor", "severity"],
        ),
        ('syslog, address: "siem:6514", severity: loud, cef: {vendr: x}', ["address", "cef.vendr", "severity"]),
        ('syslog, address: "siem:6514", severity: loud, cef: 7', ["address", "cef", "severity"]),
        ('syslog, address: "siem:6514", timeout: soon', ["address", "timeout"]),
        ('syslog, severity: loud, cef: {vendor: "{b"}', ["", "cef.vendor", "severity"]),
        ('http, url: "ftp://x", headers: {"a b": z}, verify: perhaps', ["headers", "url", "verify"]),
        ("http, headers: {Host: y}, username: me", ["", "headers", "username"]),
        # what may only follow from what could not be read is not told
        ('http, url: "https://x", username: me, password: [x]', ["password"]),
        ('http, url: "https://x", client_cert: [x], client_key: k.pem', ["client_cert"]),
        ("syslog, address: [x], ca_file: ca.pem", ["address"]),
        ("snowflake, account: a, database: D, user: me, password: [x]", ["password"]),
        ('kafka, bootstrap_servers: {a: b}, topic: "a b", key: offset', ["bootstrap_servers", "key", "topic"]),
    ],
)
def test_what_cannot_be_read_hides_nothing_else_that_is_wrong_with_a_destination(
    destination: str, expected: list[str], problems: Problems
) -> None:
    found = problems(
        f"destinations:\n  out: {{type: {destination}}}\nstreams:\n  web: {{id: {ID}, routes: [{{to: [out]}}]}}\n"
    )
    assert sorted(p.path.removeprefix("destinations.out").removeprefix(".") for p in found) == expected


def test_load_refuses_with_all_the_problems(write: Callable[[str], Path]) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load(write(TEN_MISTAKES))
    assert len(refused.value.problems) == len(PLACES)
    assert str(refused.value).count("\n") == len(PLACES) - 1


def test_a_problem_reads_as_what_where_remedy(problems: Problems, tmp_path: Path) -> None:
    found = problems(f"streams:\n  web:\n    id: {ID}\n    schmea: evolve\n")
    where = f"{tmp_path}/headrace.yaml:4:5"
    assert render_text(found) == f"streams.web.schmea: unknown key 'schmea' ({where}); did you mean 'schema'?"
    assert json.loads(json.dumps(render_rows(found))) == [
        {
            "file": f"{tmp_path}/headrace.yaml",
            "line": 4,
            "column": 5,
            "path": "streams.web.schmea",
            "severity": "error",
            "message": "unknown key 'schmea'",
            "suggestion": "did you mean 'schema'?",
        }
    ]


def stream(rest: str) -> str:
    return f"streams:\n  web:\n    id: {ID}\n    {rest}\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "words", "suggestion"),
    [
        ("", 1, 1, "the file is empty", "headrace init"),
        ("# only a comment\n", 1, 1, "the file is empty", "headrace init"),
        ("- a\n- b\n", 1, 1, "expected a mapping", None),
        ("hello\n", 1, 1, "expected a mapping", None),
        ("data: ./x\n", 1, 1, "missing: 'streams'", None),
        ("streams:\n", 1, 9, "there is no stream", "id"),
        ("streams: [web]\n", 1, 10, "expected a mapping, got a list", None),
        ("streams:\n  web:\n", 2, 7, "got nothing", None),
        ("streams:\n  web: {}\n", 2, 3, "missing: 'id'", None),
        ("streams:\n  ? [a]\n  : b\n", 2, 5, "a key that is a list or a mapping", None),
        (f"streams:\n  ~: {{id: {ID}}}\n", 2, 3, "a key that is empty or null", "quote"),
        (f"streams:\n  a/b: {{id: {ID}}}\n", 2, 3, "'a/b' cannot be a name", "A-Z"),
        (f"streams:\n  -x: {{id: {ID}}}\n", 2, 3, "cannot be a name", None),
        (f"streams:\n  {'x' * 101}: {{id: {ID}}}\n", 2, 3, "cannot be a name", None),
        (stream("schema: evolv"), 4, 13, "'evolv' is none of", "did you mean 'evolve'?"),
        (stream("schema: [evolve]"), 4, 13, "got a list", None),
        (stream("steps: {filter: x}"), 4, 12, "expected a list, got a mapping", None),
        (stream("steps: [filter]"), 4, 13, "expected a step", None),
        (stream("steps: [{filter: event.a, drop: [event.b]}]"), 4, 13, "one step has one key", "begin a new"),
        (stream("steps: [{fliter: event.a}]"), 4, 14, "unknown step 'fliter'", "did you mean 'filter'?"),
        (stream("steps: [{teleport: {}}]"), 4, 14, "unknown step 'teleport'", "sample, set"),
        (stream("steps: [{mask: {event.a: lst4}}]"), 4, 30, "'lst4' is none of", "did you mean 'last4'?"),
        (stream("steps: [{mask: {event.a: }}]"), 4, 30, "expected one of redact", None),
        (stream("steps: [{mask: {event: pii}}]"), 4, 21, "'event' cannot be masked", "event.*"),
        (stream("steps: [{mask: {source: pii}}]"), 4, 21, "'source' cannot be masked", "below event"),
        (stream("steps: [{mask: {event.a: hmac}}]"), 4, 21, "hmac needs a key", "mask_key"),
        (stream("steps: [{sample: {rate: 0}}]"), 4, 29, "too small", None),
        (stream("steps: [{sample: {rate: 1.5}}]"), 4, 29, "too large", None),
        (stream("steps: [{sample: {key: event.a}}]"), 4, 22, "missing: 'rate', 'per' or 'dynamic'", "{rate: 0.1}"),
        (stream("steps: [{sample: {rate: 0.1, rates: {}}}]"), 4, 34, "unknown key 'rates'", "did you mean 'rate'?"),
        (stream("steps: [{drop: event.a}]"), 4, 20, "expected a list", "[event.a]"),
        (stream("steps: [{drop: [event]}]"), 4, 21, "cannot be dropped", None),
        (stream("steps: [{drop: [timestamp]}]"), 4, 21, "cannot be dropped", None),
        (stream("steps: [{drop: [status]}]"), 4, 21, "'status' is no field", "did you mean 'event.status'?"),
        (stream("steps: [{drop: ['event..a']}]"), 4, 21, "not the path of a field", None),
        (stream("steps: [{set: {evnt.a: 1}}]"), 4, 20, "'evnt.a' is no field", "did you mean 'event.a'?"),
        (stream("steps: [{set: {event_id: 1}}]"), 4, 20, "'event_id' is no field", None),
        (stream("steps: [{set: {event: 1}}]"), 4, 20, "cannot be set as a whole", None),
        (stream("steps: [{set: {event.a: }}]"), 4, 29, "expected an SQL expression, got nothing", None),
        (stream("steps: [{filter: ''}]"), 4, 22, "expected an SQL expression", None),
        (stream("routes: [{when: , to: [lake]}]"), 4, 21, "expected an SQL expression", None),
        (stream("routes: [{to: []}]"), 4, 19, "names no destination", "filter"),
        (stream("routes: [{when: event.a = 1}]"), 4, 14, "missing: 'to'", None),
        (stream("routes: [{to: lake}]"), 4, 19, "expected a list", "[lake]"),
        (stream("routes: [{to: [lake], also: yes}]"), 4, 33, "expected true or false, got 'yes'", None),
        (stream("types: {event.a: STRNG}"), 4, 22, "'STRNG' is not a type", "did you mean 'STRING'?"),
        (stream("types: {event.a: UUID}"), 4, 22, "a table cannot hold a UUID", "VARCHAR"),
        (stream("types: {event.a: HUGEINT}"), 4, 22, "a table cannot hold", "DECIMAL(38,0)"),
        (stream("types: {event.a: 'INT) , (SELECT 1'}"), 4, 22, "is not a type", None),
        (stream("types: {source: INT}"), 4, 13, "has no type to give", None),
        (stream("types: {event.a: INT, event.a.b: INT}"), 4, 27, "'event.a', which it is below", None),
        (stream("limits: {bytes_per_second: 0}"), 4, 32, "0 is too small", "at least 1"),
        (stream("limits: {requests_per_second: '5'}"), 4, 35, "without quotes", None),
        (stream("dedupe_window: 400d"), 4, 20, "400d is out of range", "30d"),
        ("log: {kafka: {bootstrap_servers: x}, embedded: {}}\n" + stream(""), 1, 6, "one log has one key", "keep one"),
        ("log: {redis: {}}\n" + stream(""), 1, 7, "unknown log 'redis'", "embedded, kafka"),
        ("destinations: {lake: {uri: x}}\n" + stream(""), 1, 16, "missing: 'type'", "delta"),
        ("destinations: {lake: {type: delta}}\n" + stream(""), 1, 16, "missing: 'uri'", None),
        ("destinations: {lake: {type: delta, uri: 'gs://b/{stream}'}}\n" + stream(""), 1, 41, "gs://", "s3://"),
        ("destinations: {lake: {type: delta, uri: 's3://B_/x'}}\n" + stream(""), 1, 41, "S3 bucket", None),
        ("destinations: {lake: {type: delta, uri: 'a/{stream'}}\n" + stream(""), 1, 41, "partner", None),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_problem_at_its_place(
    problems: Problems, text: str, line: int, column: int, words: str, suggestion: str | None
) -> None:
    [problem] = problems(text)
    assert words in problem.message
    assert (problem.line, problem.column) == (line, column)
    if suggestion:
        assert suggestion in (problem.suggestion or "")


@pytest.mark.parametrize(
    ("scalar", "line", "column"),
    [
        ("event.a = nope", 5, 27),
        ("'event.a = ''x'' AND nope'", 5, 38),
        ('"event.a = \\"event\\".\\u0061 AND nope"', 5, 49),
        ("|\n          event.a = 1\n            AND nope", 7, 17),
        (">-\n          event.a = 1\n          AND nope", 7, 15),
        ("event.a = 1\n          AND nope", 6, 15),
    ],
)
def test_a_mistake_in_an_expression_has_its_own_place_in_the_file(
    problems: Problems, scalar: str, line: int, column: int
) -> None:
    [problem] = problems(f"streams:\n  web:\n    id: {ID}\n    steps:\n      - filter: {scalar}\n")
    assert (problem.line, problem.column) == (line, column)
    assert problem.suggestion == "did you mean 'event.nope'?"


def test_duplicate_keys_are_told_and_not_silently_the_last(problems: Problems) -> None:
    [problem] = problems(f"streams:\n  web: {{id: {ID}}}\n  web: {{id: {ID}}}\n")
    assert problem.message == "the key 'web' is there twice (first in line 2)"
    assert (problem.line, problem.column) == (3, 3)


def test_very_many_problems_are_cut_off_with_a_word(problems: Problems) -> None:
    found = problems("".join(f"key{n}: 1\n" for n in range(5000)))
    assert len(found) == 1001
    assert any("more problems" in problem.message for problem in found)
