"""What `pii` finds in a text, what it leaves, and that DuckDB's first look passes over nothing that would be found."""

from __future__ import annotations

import re
import string

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.steps.mask.pii import CANDIDATE, is_card, mask_pii

FOUND = {
    "email": ["a@b.example", "First.Last+tag@sub.domain.co.uk", "jürgen@müller.de", "x_y%z@example.museum", "o'hara@x.ie"],
    "phone": [
        "+14155552671", "+1 (415) 555-2671", "+49 30 1234567", "+44 20 7946 0958", "(415) 555-2671", "415-555-2671",
        "415.555.2671", "1-415-555-2671", "0049 30 1234567", "+33 1 23 45 67 89",
    ],
    "ip": ["203.0.113.77", "10.0.0.1", "2001:db8::1", "fe80::1", "2001:0db8:0000:0000:0000:ff00:0042:8329", "::ffff:1.2.3.4"],
    "iban": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "fr1420041010050500013m02606", "NO93 8601 1117 947"],
    "card": [
        "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "5500005555555559", "340000000000009",
        "3400 000000 00009", "30000000000004", "6011000000000004", "3530111333300000", "2223000048400011", "6304000000000000",
        "4222222222222",
    ],
    "ssn": ["123-45-6789", "123 45 6789"],
    "jwt": [
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0",
    ],
    "key": [
        "AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "a1" * 18, "github_pat_" + "a1" * 20, "glpat-" + "x" * 20,
        "xoxb-" + "1234567890-abc", "AIza" + "x" * 35, "sk_live_" + "a1" * 12, "sk-" + "proj-" + "a1" * 16,
        "npm_" + "a1" * 18, "hf_" + "a1" * 17, "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
}  # fmt: skip
LEFT = [
    "order 4111111111111112 of 2024", "at 2024-05-01T12:34:56.789Z", "12:34:56", "version 1.2.3", "v10.0.19045.1", "300.1.2.3",
    "id 550e8400-e29b-41d4-a716-446655440000", "epoch 1700000000 and 1700000000123", "0.4111111111111111", "std::vector::x",
    "000-12-3456 666-12-3456 900-12-3456", "user@host", "@mention", "DE88370400440532013000", "order 1234567890", "::",
    "Mozilla/5.0 Chrome/120.0.0.0 Safari/537.36",
    "a:b:c", "3f:2a", "took 415 ms of 5552671", "row 1 2 3 4 5 6 7 8 9", "sha 4e07408562bedb8b60ce05c1decfe3ad16b72230",
]  # fmt: skip
AROUND = [
    ("", ""),
    ("see ", " now"),
    ("<", ">"),
    ('{"a":"', '"}'),
    ("x=", ","),
    ("(", ")"),
    ("tel: ", "."),
    ("\n", "\n"),
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_it_finds(kind: str, text: str) -> None:
    for before, after in AROUND:
        assert mask_pii(before + text + after) == f"{before}[{kind}]{after}"


@pytest.mark.parametrize("text", LEFT)
def test_it_leaves(text: str) -> None:
    assert mask_pii(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4111111111111111 4111111111111111", "[card] [card]"),
        ("2024 4111 1111 1111 1111 123 ok", "2024 [card] 123 ok"),
        ("1,4111111111111111,5", "1,[card],5"),
        ("a@b.co,c@d.co;e@f.co", "[email],[email];[email]"),
        ("10.0.0.1:8080 -> 10.0.0.2", "[ip]:8080 -> [ip]"),
        ("[2001:db8::1]:443", "[[ip]]:443"),
        ("https://u:p@example.com/?mail=a@b.co", "https://u:[email]/?mail=[email]"),
        ("+33 1 23 45 67 89 (415) 555-2671", "[phone]"),
        ("+33 1 23 45 67 89 415-555-2671.", "[phone]."),
        ("SSN: 123456789", "SSN: [ssn]"),
        ("phone 4155552671", "phone [phone]"),
        ("415-555-2671.4111111111111111", "[phone].[card]"),
        ("aws_secret_access_key = " + "a1B2" * 10, "aws_secret_access_key[key]"),
    ],
)
def test_several_findings_and_their_neighbours(text: str, expected: str) -> None:
    assert mask_pii(text) == expected


@settings(max_examples=300)
@given(st.integers(12, 18).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)), st.sampled_from("3456"))
def test_a_card_is_one_with_its_luhn_digit_and_none_with_another(digits: str, first: str) -> None:
    body = first + digits[1:]
    cards = [body + check for check in string.digits if is_card(body + check)]
    assert len(cards) <= 1
    for card in cards:
        assert mask_pii(card) == "[card]"


PIECES = st.sampled_from([text for texts in FOUND.values() for text in texts] + LEFT)
NOISE = st.text(alphabet=st.sampled_from(" .,:-@/=\"'()[]{}äx1AZ\n\t\u00a0"), max_size=5)


@settings(max_examples=300)
@given(st.lists(st.one_of(PIECES, NOISE), min_size=1, max_size=6).map("".join))
def test_what_the_first_look_passes_over_holds_nothing(text: str) -> None:
    candidate = duckdb.execute("SELECT regexp_matches(?, ?)", [text, CANDIDATE]).fetchall()[0][0]
    assert candidate or mask_pii(text) == text


@settings(max_examples=1500)
@given(st.lists(st.one_of(PIECES, NOISE), min_size=1, max_size=5).map(" ".join))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = mask_pii(text)
    assert mask_pii(once) == once


LONG = ["1", "a@", "1 ", ":", "1.", "ab12 ", "a", "eyJ", "a.", "-eyJ", "DE89 ", "4111 "]


@pytest.mark.parametrize("text", [piece * 20_000 + "@b.co" for piece in LONG], ids=LONG)
def test_a_text_made_to_be_slow_is_read_to_its_end(text: str) -> None:
    assert len(re.sub(r"\[\w+\]", "", mask_pii(text))) <= len(text)
