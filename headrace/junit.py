"""Results of tests as JUnit XML, the form that CI servers read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

if TYPE_CHECKING:
    from flows.trial import Result

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Sequence[Result], failures: Sequence[Sequence[str]]) -> bytes:
    """A document with a `testsuite` a stream and a `testcase` a test; `failures` are each result's lines."""
    root = Element("testsuites")
    for stream in dict.fromkeys(result.stream for result in results):
        own = [(result, lines) for result, lines in zip(results, failures, strict=True) if result.stream == stream]
        failed = sum(not result.passed for result, _ in own)
        suite = SubElement(root, "testsuite", name=stream, tests=str(len(own)), failures=str(failed), errors="0")
        for result, lines in own:
            case = SubElement(suite, "testcase", classname=stream, name=_text(result.name))
            case.set("file", result.file)
            case.set("line", str(result.line))
            if not result.passed:
                text = "\n".join([f"{result.file}:{result.line}:{result.column}", *lines])
                SubElement(case, "failure", message=_text(lines[0])).text = _text(text)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _text(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return _NO_XML.sub("\ufffd", text)
