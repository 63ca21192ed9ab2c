"""Try every kind of model that transformers can go on with a text with: `make sweep`. Writes docs/architectures.md.

    python -m tests.architectures                 all of them, into the document
    python -m tests.architectures llama mixtral   these, onto the terminal

Each is tried in a process that may end: what kills it is a finding, not the end of the sweep.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.architectures.report import markdown
from tests.architectures.trial import Outcome, Trial, precisions_of, trial

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "architectures.md"
#: Seconds after which a kind that is still at work is given up.
TOO_LONG_S = 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="default: all, written into the document")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.kinds)
        return
    begun = time.perf_counter()
    trials = sweep(arguments.kinds or every_kind())
    if not arguments.kinds:
        DOCUMENT.write_text(markdown(trials, time.perf_counter() - begun), encoding="utf-8")
    counts = {verdict: sum(it.verdict == verdict for it in trials) for verdict in VERDICTS}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    sys.exit(any(counts[verdict] for verdict in ("wrong", "broken")))


VERDICTS = ("right", "refused", "unbuilt", "wrong", "broken")


def every_kind() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def sweep(kinds: list[str]) -> list[Trial]:
    """Try them one after the other, in one process for as long as it lives."""
    left, done = list(kinds), []
    while left:
        done += (found := _one_process(left))
        left = left[len(found) :]
    return done


def _one_process(kinds: list[str]) -> list[Trial]:
    command = [sys.executable, "-m", "tests.architectures", "--worker", *kinds]
    found: list[Trial] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("{"):
                found.append(_read(line))
                print(found[-1].kind, found[-1].verdict, flush=True)
    if len(found) < len(kinds):
        why = f"the process ended with {process.returncode}"
        found.append(Trial(kinds[len(found)], outcomes=(Outcome("all", "broken", why),)))
        print(found[-1].kind, why, flush=True)
    return found


def _read(line: str) -> Trial:
    values = json.loads(line)
    outcomes = tuple(Outcome(**it | {"notes": tuple(it["notes"])}) for it in values.pop("outcomes"))
    return Trial(**values, outcomes=outcomes)


def work(kinds: list[str]) -> None:
    """Try them and print each as one line of JSON. A kind that takes too long ends the process."""
    import faulthandler
    import logging
    import warnings

    from transformers.utils import logging as chatty

    chatty.set_verbosity_error()
    chatty.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    for kind in kinds:
        faulthandler.dump_traceback_later(TOO_LONG_S, exit=True)
        print(json.dumps(asdict(trial(kind, precisions_of(kind)))), flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
