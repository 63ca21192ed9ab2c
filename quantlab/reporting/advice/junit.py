"""The checks of a quality run as JUnit XML, which CI systems show: a suite a run, a case a variant and limit."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from quantlab.export.common import model_data
from quantlab.records import Quality
from quantlab.reporting.advice.gate import Check, Verdict

#: What XML 1.0 cannot hold (lone surrogates among it), what it discourages, and what would break a line of a list.
_UNFIT = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(quality: Quality, verdict: Verdict, seconds: Mapping[str, float]) -> str:
    """The checks of a run that has ended. `seconds` is how long each variant took, which its cases share evenly.

    What broke a limit is a failure, what was not measured an error. A case is named without its limit, so that it is
    the same one where the limit has changed.
    """
    suite = _suite(
        str(model_data(quality.model)["name"]), verdict.checks, quality.started, sum(seconds.values()), quality
    )
    for check in verdict.checks:
        share = seconds.get(check.precision, 0.0) / sum(it.precision == check.precision for it in verdict.checks)
        suite.append(_case(suite.attrib["name"], check, share))
    return _document(suite)


def unfinished() -> str:
    """What stands in the file until the run has ended, so that one that is killed is not taken for the one before."""
    check = Check("every variant", "the run", "not measured", "none", why="it did not come to its end")
    suite = _suite("", (check,), datetime.now(UTC), 0.0)
    suite.append(_case(suite.attrib["name"], check, 0.0))
    return _document(suite)


def _suite(
    model: str, checks: Sequence[Check], started: datetime, took_s: float, quality: Quality | None = None
) -> ElementTree.Element:
    counts = {
        "tests": len(checks),
        "failures": sum(it.broken for it in checks),
        "errors": sum(not it.measured for it in checks),
        "skipped": 0,
    }
    about = {
        "name": _fit(f"quantlab quality {model}".strip()),
        "timestamp": started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "time": f"{took_s:.3f}",
    }
    suite = ElementTree.Element("testsuite", about | {name: str(count) for name, count in counts.items()})
    if quality is not None:
        read = {"reference": quality.reference, "text": quality.text.name, "scored": str(quality.text.scored)}
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in (read | {"device": quality.machine.device} | dict(quality.versions)).items():
            ElementTree.SubElement(properties, "property", name=_fit(name), value=_fit(value))
    return suite


def _case(classname: str, check: Check, took_s: float) -> ElementTree.Element:
    name = _fit(f"{check.precision}: {check.what}")
    case = ElementTree.Element("testcase", name=name, classname=classname, time=f"{took_s:.3f}")
    if check.broken or not check.measured:
        kind = "failure" if check.broken else "error"
        found = ElementTree.SubElement(case, kind, message=_fit(check.sentence), type=check.outcome)
        found.text = _fit(check.sentence)
    else:
        ElementTree.SubElement(case, "system-out").text = _fit(check.sentence)
    return case


def _document(suite: ElementTree.Element) -> str:
    """The suite under the root that all readers take, with the counts of the only one it has."""
    counts = {name: suite.attrib[name] for name in ("tests", "failures", "errors", "time")}
    root = ElementTree.Element("testsuites", {"name": "quantlab"} | counts)
    root.append(suite)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _fit(text: str) -> str:
    """The text in one line, each character that XML cannot hold, or a reader may stumble over, as a mark."""
    return _UNFIT.sub(lambda found: " " if found[0] in "\n\t\r" else "\ufffd", text)
