from __future__ import annotations

from xml.etree import ElementTree

from scope_batch.golden.junit import Case, junit_xml


def test_failures_and_errors_are_counted_and_told() -> None:
    cases = [
        Case("a.yaml", 1.5),
        Case("b.yaml", 0.5, failure="frame 3", details=["<why>\x1b"]),
        Case("c.yaml", 0, error="gone"),
    ]
    suite = ElementTree.fromstring(junit_xml(cases))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("time")) == (
        "3",
        "1",
        "1",
        "2.000",
    )
    failure = suite[1].find("failure")
    assert failure is not None and failure.get("message") == "frame 3" and failure.text == "frame 3\n<why>?"
    assert suite[2].find("error") is not None and len(suite[0]) == 0
