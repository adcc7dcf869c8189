"""Finds personal data and credentials in a text: what they look like, proved by a checksum where they have one.

Cards: 13 to 19 digits with the prefix of a network and the Luhn digit (ISO/IEC 7812-1). IBAN: ISO 13616, mod 97. SSN: no
area 000, 666 or 9xx, no group 00, no serial 0000. IP addresses: as `ipaddress` reads them. A phone number needs a `+`,
separators, or a word such as `tel` before it: bare digits are ids more often than phone numbers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

CANDIDATE = (
    r"@|eyJ|PRIVATE KEY|(?i:a[ks]ia|gh[a-z]_|github_pat|xox|aiza|glpat-|sk[-_]|rk_|npm_|ya29|secret|hf_|dop_v1|accountkey)"
    r"|[0-9](?:[^0-9A-Za-z]{0,4}[0-9]){6}|[0-9]{1,3}(?:[.][0-9]{1,3}){3}|:[0-9a-fA-F]{0,4}:|[A-Za-z]{2}[0-9]{2}"
)
"""RE2: what a text must have for anything to be found in it. Most texts have not, and are passed over by DuckDB."""

_CARD = re.compile(r"(?<![0-9])(?<![0-9][.])[2-6][0-9]{3}")
_CARD_FORMS = tuple(
    re.compile(form + r"(?![0-9])")
    for form in (
        r"[0-9]{13,19}",
        r"[0-9]{4}([ .\-\u00a0\u2009])(?:[0-9]{4}\1){3}[0-9]{1,3}",
        r"[0-9]{4}([ .\-\u00a0\u2009])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}",
        r"[0-9]{4}([ .\-\u00a0\u2009])[0-9]{6}\1[0-9]{4,5}",
        r"[0-9]{6,8}[ -][0-9]{8,13}",
    )
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ \-\u00a0]?[A-Za-z0-9]){11,30}")
_SSN = re.compile(r"(?<![0-9-])(?!000|666|9)[0-9]{3}([- .])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9]|-[0-9])")
_SSN_NAMED = re.compile(
    r"(?i)(\b(?:ssn|social security(?: (?:number|no\.?))?)\b[^0-9A-Za-z]{0,5})"
    r"(?!000|666|9)[0-9]{3}(?!00)[0-9]{2}(?!0000)[0-9]{4}(?![0-9])"
)
_PHONES = (
    re.compile(r"(?<![\w+])(?:\+|00)[1-9](?:[ \-./()\u00a0]{0,3}[0-9]){6,14}(?![0-9])"),
    re.compile(r"(?<!\w)(?:1[ \-.])?\([0-9]{2,5}\)[ \-.]?[0-9]{2,4}(?:[ \-.]?[0-9]{2,4}){1,3}(?![0-9])"),
    re.compile(r"(?<!\w)(?:1[ \-.])?[2-9][0-9]{2}([ \-.])[2-9][0-9]{2}\1[0-9]{4}(?![0-9])"),
)
_PHONE_NAMED = re.compile(
    r"(?i)(\b(?:tel|telephone|phone|mobile|cell|fax|whatsapp|sms|call)\b[^0-9A-Za-z+]{0,5})"
    r"[0-9](?:[ \-./()\u00a0]{0,2}[0-9]){6,14}(?![0-9])"
)
_EMAIL = re.compile(  # begins where its first part does, or a long text without '@' would take for ever
    r"""(?:"[^"\s@]{1,64}"|(?<![^\s@<>()\[\]{}"',;:=|&?/\\])(?:[^\s@<>()\[\]{}"',;:=|&?/\\]|(?<=\w)'(?=\w))+)(?:@|%40)"""
    r"(?:[^\W_](?:[\w-]{0,62})?\.)+(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![^\W_])",
    re.IGNORECASE,
)
# `Chrome/120.0.0.0` is a version; as an address it would be a network's, which is nobody's.
_IPV4 = re.compile(
    r"(?<![0-9A-Za-z])(?!(?<=[A-Za-z]/)[0-9]{1,3}[.]0[.]0[.]0(?![0-9.]))(?<![0-9A-Za-z][.])"
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z]|\.[0-9])"
)
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])(?=[0-9A-Fa-f:.]{0,40}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z:]|\.[0-9])"
)
_JWT = re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{5,1000}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]+){0,3}")
_KEYS = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}"
    r"|(?<![A-Za-z0-9])[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}"
    r"|npm_[A-Za-z0-9]{36}|(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}|dop_v1_[a-f0-9]{64}"
    r"|(?i:(?<=AccountKey=)[A-Za-z0-9+/]{40,}={0,2})"
    r"|(?i:(?<=secret_access_key)|(?<=secretaccesskey)|(?<=secret access key))"
    r"[^A-Za-z0-9/+]{1,6}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"
)
_KEY_HINT = re.compile(
    r"PRIVATE KEY|A[KS]IA|gh[pousr]_|github_pat|glpat-|xox|AIza|ya29|[sr]k[_-]|npm_|hf_|dop_v1|(?i:accountkey|secret)"
)
_NAMED = re.compile(r"(?i:tel|phone|mobile|cell|fax|whatsapp|sms|call|ssn|social)")
_SEVEN_DIGITS = re.compile(r"[0-9](?:[^0-9A-Za-z]{0,5}[0-9]){6}")
_NETWORKS = re.compile(
    r"(?:4[0-9]{12}(?:[0-9]{3}){0,2}"  # Visa: 13, 16, 19
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11,16}"  # Diners Club
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12,15}"  # JCB
    r"|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}"  # Discover, RuPay
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{8,15})"  # Maestro
)
_IBAN_COUNTRIES = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26
    IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28
    NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25
    SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_IBAN_LENGTHS = {text[:2]: int(text[2:]) for text in _IBAN_COUNTRIES.split()}
_NOT_DIGITS = re.compile(r"[^0-9]")


def mask_pii(text: str) -> str:
    """The text with each finding replaced by its kind: `[email]`, `[card]`, `[key]`, …

    What one finding hid may be another once it is gone, so it looks again until there is nothing: each turn takes digits
    or an `@` away, so there is an end.
    """
    while (masked := _masked_once(text)) != text:
        text = masked
    return text


def _masked_once(text: str) -> str:
    if _KEY_HINT.search(text):
        text = _KEYS.sub("[key]", text)
    if "eyJ" in text:
        text = _JWT.sub("[jwt]", text)
    if "@" in text or "%40" in text:
        text = _EMAIL.sub("[email]", text)
    if text.count(":") > 1:
        text = _IPV6.sub(_proved(_is_ip, "[ip]"), text)
    if text.count(".") > 2:
        text = _IPV4.sub(_proved(_is_ip, "[ip]"), text)
    text = _without_cards(_without_ibans(text))
    if not _SEVEN_DIGITS.search(text):
        return text
    named = _NAMED.search(text) is not None
    text = _SSN.sub("[ssn]", text)
    text = _without_phones(_SSN_NAMED.sub(r"\1[ssn]", text) if named else text)
    return _PHONE_NAMED.sub(r"\1[phone]", text) if named else text


def is_card(digits: str) -> bool:
    """Whether the digits are a payment card's: a network's prefix and length, and the Luhn digit."""
    return _NETWORKS.fullmatch(digits) is not None and _luhn(digits)


def _proved(proof: Callable[[str], bool], instead: str) -> Callable[[re.Match[str]], str]:
    return lambda match: instead if proof(match[0]) else match[0]


def _luhn(digits: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _without_cards(text: str) -> str:
    parts, done, at = [], 0, 0
    while start := _CARD.search(text, at):
        at = start.end()
        for form in _CARD_FORMS:
            match = form.match(text, start.start())
            if match and is_card(_NOT_DIGITS.sub("", match[0])):
                parts += [text[done : match.start()], "[card]"]
                done = at = match.end()
                break
    return "".join([*parts, text[done:]])


def _without_ibans(text: str) -> str:
    parts, done, at = [], 0, 0
    while match := _IBAN.search(text, at):
        at = match.start() + 2
        end = _end_of_iban(match)
        if end:
            parts += [text[done : match.start()], "[iban]"]
            done = at = end
    return "".join([*parts, text[done:]])


def _end_of_iban(match: re.Match[str]) -> int:
    """Where the account number ends: it is as long as its country says; 0 where it is none."""
    text = match[0]
    length = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, char in enumerate(text) if char.isalnum()]
    if not length or len(places) < length:
        return 0
    end = places[length - 1] + 1
    if end < len(text) and text[end].isalnum():
        return 0
    plain = "".join(text[place] for place in places[:length]).upper()
    proved = int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1
    return match.start() + end if proved else 0


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(".".join(str(int(p)) for p in text.split(".")) if ":" not in text else text)
    except ValueError:
        return False
    return address.version == 4 or len(text) > 3  # '::' and '::1' say nothing of anybody


def _without_phones(text: str) -> str:
    """Each form is looked for from every place: one number may end within what looks like another."""
    parts, done, until = [], 0, -1
    for start, end in sorted(span for form in _PHONES for span in _spans(form, text)):
        if start >= until:
            parts += [text[done:start], "[phone]"]
        done = until = max(end, until)
    return "".join([*parts, text[done:]])


def _spans(form: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Where the form matches, matches that begin within others included."""
    match = form.search(text)
    while match:
        yield match.span()
        match = form.search(text, match.start() + 1)
