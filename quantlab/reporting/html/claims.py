"""What is claimed of quantization and how it was judged here, as one HTML file that needs nothing else."""

from quantlab.export import codec
from quantlab.records import units
from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Claims
from quantlab.reporting.rules import rules
from quantlab.reporting.templates import page

_SIGNS = {HOLDS: "✓", FAILS: "✗", UNTESTED: "–"}


def claims_html(found: Claims) -> str:
    """The whole page: each verdict with its rule and figures, the machine, and when it was tested.

    Of a model that lies on this disk the last name is told. Only text that can be encoded as UTF-8.
    """
    machine, measured = found.machine, {True: "measured", False: "configuration"}
    rows = [
        {
            "number": verdict.number,
            "claim": verdict.claim,
            "outcome": verdict.outcome,
            "sign": _SIGNS[verdict.outcome],
            "why": verdict.why,
            "rule": rules().get(verdict.number, ""),
            "tested_by": verdict.tested_by,
            "figures": [(it.name, it.text, measured[it.measured]) for it in verdict.figures],
        }
        for verdict in found.verdicts
    ]
    name = codec.last_name(found.model) if _is_path(found.model) else found.model
    return page(
        "reporting/html/claims.html",
        title=f"{len(rows)} claim{'' if len(rows) == 1 else 's'} of quantization, tested with {name}",
        facts=[
            ("Model", name),
            ("Judged", f"{found.started:%Y-%m-%d %H:%M:%S %Z}".strip()),
            ("Processor", f"{machine.cpu}, {units.counted(machine.cores, 'core')}"),
            ("Memory", units.size(machine.memory_bytes)),
            ("Device", f"{machine.device}, {units.size(machine.device_memory_bytes)}"),
            ("System", machine.system),
            ("Versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
        ],
        version=found.versions.get("quantlab", ""),
        counted=found.counted,
        rows=rows,
        chart_css="",
    )


def _is_path(model: str) -> bool:
    return model.startswith(("/", "~", ".", "\\")) or model[1:3] == ":\\"
