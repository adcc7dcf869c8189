"""What a mask hides is shown by none of the commands that try a pipeline."""

from __future__ import annotations

import json

import pytest

from tests.trial.conftest import Bench

CARD = "4111111111111111"
PIPELINE = """
mask_key: "${MASK_KEY}"
steps:
  - set:    {event.copy: event.card}
  - sample: {rate: 0.5, key: event.k, keep: event.k = 1}
  - mask:   {event.card: last4, event.copy: hmac, event.*: pii}
tests:
  - name: a card is masked
    input:  [{source: a, event: {card: "4111111111111111", note: "jane@example.com", k: 1}}]
    expect: {lake: [{event.card: "************1111", event.note: "[email]", _sample_rate: 1.0}]}
"""


@pytest.fixture
def masked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("MASK_KEY", "sesame-open")
    bench.write(PIPELINE)
    return bench


def test_preview_and_explain_show_neither_the_value_nor_the_key(masked: Bench) -> None:
    file = masked.config.parent / "events.ndjson"
    events = [{"source": "a", "event": {"card": CARD, "note": f"by jane@example.com: {CARD}", "k": 1}}]
    file.write_text("\n".join(map(json.dumps, events)))
    for command in (
        ["preview", "payments", "--input", str(file)],
        ["preview", "payments", "--input", str(file), "--json"],
    ):
        result = masked.run(*command)
        assert result.exit_code == 0
        assert "************1111" in result.output
        assert CARD not in result.output
        assert "jane@" not in result.output
    explained = masked.run("explain", "payments", "--input", str(file))
    assert explained.exit_code == 0
    assert "sesame" not in explained.output
    assert b"sesame".hex() not in explained.output.lower()


def test_a_pipeline_with_a_mask_and_a_sample_passes_its_inline_tests(masked: Bench) -> None:
    assert masked.run("test").exit_code == 0
