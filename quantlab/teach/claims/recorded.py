"""Verdicts of other machines, recorded by `quantlab claims --json` and shown beside those of this one."""

import logging
from functools import cache
from pathlib import Path

from quantlab.errors import BadInput
from quantlab.records.claims import Claims
from quantlab.settings import ASSETS
from quantlab.teach.claims.exported import read_json

log = logging.getLogger(__name__)
FOLDER = ASSETS / "recorded" / "claims"


@cache
def recorded(folder: Path = FOLDER) -> tuple[Claims, ...]:
    """All that are kept there, the newest first. One that cannot be read is left out, and the log says why."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(read_json(path.read_bytes()))
        except BadInput as error:
            log.warning("The recorded claims %s are left out: %s", path.name, error)
    return tuple(sorted(found, key=lambda claims: claims.started, reverse=True))
