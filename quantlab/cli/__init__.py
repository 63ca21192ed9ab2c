"""The same verbs without a browser: `quantlab compare`, `quality`, `plan`, `history`, `quantize`, `serve` ..."""

import argparse
import os
import sys
from collections.abc import Sequence

from quantlab.cli import (
    claims,
    classroom,
    compare,
    doctor,
    finetune,
    history,
    inside,
    lesson,
    merge,
    others,
    plan,
    quality,
    sweep,
)
from quantlab.cli.compare import REFUSED, SOME_FAILED
from quantlab.cli.parser import Parser
from quantlab.errors import QuantlabError, Stopped

# transformers warns of what is refused in our own words, or means nothing here. It reads this while it is imported.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
#: The exit code beside `SOME_FAILED` and `REFUSED`: stopped by the user.
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="quantlab", description="One language model at several precisions, side by side.")
    verbs = top.add_subparsers(dest="verb", required=True)
    every = (compare, quality, sweep, plan, inside, claims, lesson, doctor, classroom, finetune, merge, history, others)
    for module in every:
        module.add(verbs)
    return top


VERBS = {
    "compare": compare.run,
    "quality": quality.run,
    "sweep": sweep.run,
    "plan": plan.run,
    "claims": claims.run,
    "lesson": lesson.run,
    "doctor": doctor.run,
    "finetune": finetune.run,
    "merge": merge.run,
    "inside": inside.run,
    "class": classroom.run,
    "history": history.run,
    "quantize": others.quantize_verb,
    "cache": others.cache,
    "precisions": others.precisions,
    "models": others.models_verb,
    "serve": others.serve_verb,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Errors a user can act on go to standard error as two lines; others stay loud."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        args = parser().parse_args(lesson.glued(inside.glued(given)))
        code = VERBS[args.verb](args)
        sys.stdout.flush()
        return code
    except (Stopped, KeyboardInterrupt):
        print("quantlab: stopped.", file=sys.stderr)
        return INTERRUPTED
    except QuantlabError as error:
        from quantlab.cli.render.screen import visible

        print(visible(f"quantlab: {error.what}"), file=sys.stderr)
        if error.advice:
            print(visible(f"  {error.advice}"), file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # Python flushes standard output once more when it ends, and would complain of the pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
