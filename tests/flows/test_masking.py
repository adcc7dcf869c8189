"""What is masked is nowhere unmasked: tables, `_rescued`, dead letters, the log of the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

from connectors.record import Record, new_request_id, now_microseconds
from tests.flows.pipelines import STREAM, append, drain, opened, rows, write_config

CARD = "4111111111111111"
MAIL = "jane.doe@example.com"


def masking(tmp_path: Path, steps: list[dict[str, Any]], **more: Any) -> tuple[Path, Any, Any]:
    path = write_config(tmp_path, {"streams": {"pay": {"id": STREAM, "steps": steps, **more}}})
    return path, *opened(path)


def everywhere(tmp_path: Path, config: Any) -> str:
    """The rows of the lake and of the dead letters, and what the workers said."""
    said = "".join(file.read_text() for file in tmp_path.glob("worker-*.log"))
    letters = config.data / "dead_letters"
    found = ""
    if letters.exists():
        with duckdb.connect() as engine:
            files = DeltaTable(str(letters)).file_uris()
            found = str(engine.sql("SELECT * FROM read_parquet($files)", params={"files": files}).fetchall())
    return str(rows(config)) + found + said


def test_a_value_that_no_longer_fits_its_column_is_masked_where_it_is_rescued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASK_KEY", "sesame-open")
    path, config, log = masking(tmp_path, [])
    append(log, [{"source": "a", "event": {"card": 5, "user": {"mail": "x"}}}])
    drain(path)
    masks = {"event.card": "last4", "event.*.mail": "hmac", "event.note": "pii"}
    path, config, log = masking(tmp_path, [{"mask": masks}], mask_key="${MASK_KEY}")
    append(
        log,
        [
            {"source": "a", "event": {"card": int(CARD), "user": {"mail": MAIL}}},
            {"source": "a", "event": {"card": {"number": CARD}, "user": [{"mail": MAIL}], "note": [MAIL, {"n": CARD}]}},
            {"source": "a", "event": {"card": [CARD], "user": {"mail": {"at": MAIL}}, "note": f"by {MAIL}: {CARD}"}},
        ],
    )
    drain(path)
    seen = everywhere(tmp_path, config)
    assert "************1111" in seen
    assert "by [email]: [card]" in seen
    for original in (CARD, MAIL, "sesame"):
        assert original not in seen
    assert len(rows(config)) == 4


def test_a_value_that_is_not_of_its_declared_type_is_masked_where_it_is_rescued(tmp_path: Path) -> None:
    """It never gets a column: the reader sets it aside, and the mask finds it there."""
    types = {"event.card": "BIGINT", "event.user.mail": "BIGINT"}
    path, config, log = masking(tmp_path, [{"mask": {"event.card": "last4", "event.user": "pii"}}], types=types)
    append(
        log,
        [
            {"source": "a", "event": {"card": f"{CARD}", "user": {"mail": MAIL}}},
            {"source": "a", "event": {"card": {"number": CARD}, "user": {"mail": [MAIL]}}},
        ],
    )
    drain(path)
    seen = everywhere(tmp_path, config)
    assert len(rows(config, where="_rescued IS NOT NULL")) == 2
    assert "************1111" in seen
    assert "[email]" in seen
    for original in (CARD, MAIL):
        assert original not in seen


def test_a_line_that_is_no_event_is_not_shown_where_a_mask_could_not_see_it(tmp_path: Path) -> None:
    path, config, log = masking(tmp_path, [{"mask": {"event.*": "pii"}}])
    append(log, [{"source": "a", "event": {"card": CARD}}])
    log.append(Record(STREAM, new_request_id(), now_microseconds(), 1, f"{{broken {CARD}".encode()))
    drain(path)
    seen = everywhere(tmp_path, config)
    assert CARD not in seen
    assert "not an event" in seen


def test_a_text_that_does_not_parse_is_not_shown_where_its_parts_would_have_been_masked(tmp_path: Path) -> None:
    parse = {"field": "event.line", "as": "json", "into": "event.pay", "on_error": "dead_letter"}
    path, config, log = masking(
        tmp_path, [{"parse": parse}, {"drop": ["event.line"]}, {"mask": {"event.pay.card": "last4"}}]
    )
    good = f'{{"card": "{CARD}"}}'
    append(log, [{"source": "a", "event": {"line": line, "n": 1}} for line in (good, f"{{broken {CARD}")])
    drain(path)
    seen = everywhere(tmp_path, config)
    assert CARD not in seen
    assert "************1111" in seen
    assert "cannot be read as json" in seen
