"""Writes verifications as JUnit XML, which CI services show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """A job that was verified. failure: one line, "" if it passed; error: it could not be verified; details: lines."""

    name: str
    seconds: float
    failure: str = ""
    error: str = ""
    details: Sequence[str] = ()


def junit_xml(cases: Sequence[Case]) -> str:
    failures, errors = sum(bool(case.failure) for case in cases), sum(bool(case.error) for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": str(errors)}
    seconds = f"{sum(case.seconds for case in cases):.3f}"
    suites = ElementTree.Element("testsuites", counts | {"time": seconds})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "scope-batch golden", **counts, "time": seconds})
    for case in cases:
        names = {"classname": "golden", "name": _plain(case.name), "time": f"{case.seconds:.3f}"}
        element = ElementTree.SubElement(suite, "testcase", names)
        for kind, message in (("failure", case.failure), ("error", case.error)):
            if message:
                told = ElementTree.SubElement(element, kind, {"message": _plain(message)})
                told.text = _plain("\n".join((message, *case.details)))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Replace the control characters that XML cannot hold."""
    return _NOT_XML.sub("?", text)
