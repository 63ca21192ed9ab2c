"""`quantlab history`: what was measured before, and its export, import and resumption."""

import argparse
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.cli.arguments import Verbs, age, check_writable, size, write
from quantlab.errors import BadInput, Unavailable
from quantlab.records import Comparison, Quality

if TYPE_CHECKING:
    from quantlab.history import History

#: The last is a program that does the same, of comparisons alone.
FORMATS = ("json", "csv", "md", "html", "py")


def add(verbs: Verbs) -> None:
    history = verbs.add_parser("history", help="what was compared and measured before")
    actions = history.add_subparsers(dest="action", required=True)
    listed = actions.add_parser("list", help="the newest first")
    listed.add_argument("search", nargs="*", help="words in the model, the prompt or text, or the precisions")
    for name, what in (("show", "show one again"), ("resume", "finish one that was cut short"), ("delete", "remove")):
        actions.add_parser(name, help=what).add_argument("id", type=int)
    export = actions.add_parser("export", help="write one to a file; its ending says how: .json .csv .md .html .py")
    export.add_argument("id", type=int)
    export.add_argument("file", help="- for standard output")
    export.add_argument("--format", choices=FORMATS, help="instead of the ending; for standard output json by default")
    actions.add_parser("import", help="add what somebody exported as JSON").add_argument("file")
    prune = actions.add_parser(
        "prune",
        help="remove the old, and give their room back to the disk",
        description="Remove every entry that is beyond one of the limits; never one that is being worked on. Without "
        "a limit, what exceeds QUANTLAB_HISTORY_BYTES goes.",
    )
    prune.add_argument("--older-than", metavar="AGE", type=age, help="begun longer ago: 90d, 12h, 6w")
    prune.add_argument("--keep", metavar="N", type=int, help="all but the newest N")
    prune.add_argument("--max-size", metavar="SIZE", type=size, help="all but the newest that take so much: 200MB")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")


def opened() -> "History | None":
    """The history of the settings, those that a dead process left marked. A warning goes to standard error.

    None where nothing is kept, and where it cannot be used: that never keeps anybody from measuring.
    """
    from quantlab.history import open_history

    try:
        history = open_history()
        if history is not None:
            history.mark_interrupted()
    except (Unavailable, BadInput) as error:
        print(f"quantlab: nothing will be kept. {error}", file=sys.stderr)
        return None
    if history is not None and history.warning:
        print(f"quantlab: {history.warning}", file=sys.stderr)
    return history


def run(args: argparse.Namespace) -> int:
    from quantlab.history import open_history

    history = open_history()
    if history is None:
        raise BadInput("No history is kept here.", "Set QUANTLAB_HISTORY_FILE to a file, and QUANTLAB_PUBLIC to false.")
    history.mark_interrupted()
    if history.warning:
        print(f"quantlab: {history.warning}", file=sys.stderr)
    return _ACTIONS[args.action](args, history)


def _list(args: argparse.Namespace, history: "History") -> int:
    from quantlab.cli import render

    render.show_history(history.entries(" ".join(args.search)))
    return 0


def _show(args: argparse.Namespace, history: "History") -> int:
    from quantlab.cli import render
    from quantlab.reporting.advice import KLD_BOUND

    record = history.get(args.id)
    if isinstance(record, Comparison):
        render.show(record)
    else:
        render.show_quality(record, KLD_BOUND)
    return 0


def _resume(args: argparse.Namespace, history: "History") -> int:
    from quantlab.cli import render
    from quantlab.runs.recorded import resumed

    stop = threading.Event()
    comparison = history.entry(args.id).kind == "comparison"
    with closing(resumed(history, args.id, stop)) as events:
        (render.follow if comparison else render.follow_quality)(events, stop)
    return _show(args, history)


def _delete(args: argparse.Namespace, history: "History") -> int:
    history.entry(args.id)  # says so where there is none
    history.delete(args.id)
    return 0


def _prune(args: argparse.Namespace, history: "History") -> int:
    from quantlab.cli import render
    from quantlab.history import Limits
    from quantlab.records import units

    if args.keep is not None and args.keep < 0:
        raise BadInput(f"--keep {args.keep} is less than none.", "Give the number of entries that stay, 0 or more.")
    since = None if args.older_than is None else datetime.now(UTC) - args.older_than
    none = since is None and args.keep is None and args.max_size is None
    limits = Limits(since, args.keep, history.limit if none else args.max_size)
    before = history.file.stat().st_size
    gone = history.prune(limits, args.dry_run)
    render.show_history(gone.entries)
    count = f"{gone.count} {'entry' if gone.count == 1 else 'entries'}"
    if args.dry_run:
        print(f"quantlab: {count} with {units.size(gone.nbytes)} would go; nothing was removed.", file=sys.stderr)
        return 0
    now = history.file.stat().st_size
    print(
        f"quantlab: {count} removed; the file has {units.size(now)}, {units.size(max(0, before - now))} less.",
        file=sys.stderr,
    )
    return 0


def _export(args: argparse.Namespace, history: "History") -> int:
    if args.file == "-":
        from quantlab.cli.render.screen import visible

        written = _written(history.get(args.id), args.format or "json")
        # JSON and CSV are for programs, which are given what there is.
        print(visible(written) if args.format == "md" else written)
        return 0
    file = Path(args.file).absolute()
    kind = args.format or file.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise BadInput(f"{args.file} has no known ending.", f"Choose one of: {', '.join(f'.{it}' for it in FORMATS)}.")
    check_writable(file)
    write(file, _written(history.get(args.id), kind))
    return 0


def _written(record: Comparison | Quality, kind: str) -> str:
    from quantlab import export
    from quantlab.reporting import html
    from quantlab.reporting.advice import KLD_BOUND, advise

    match kind:
        case "json":
            return export.to_json(record)
        case "csv":
            return export.to_csv(record)
        case "md":
            return export.to_markdown(record)
        case "py":
            return _program(record)
    return html.html(record, advise(record, KLD_BOUND).sentences if isinstance(record, Quality) else ())


def _program(record: Comparison | Quality) -> str:
    from quantlab.reporting.code import code

    if isinstance(record, Quality):
        raise BadInput("Only a comparison can be written as a program.", "Choose .json, .csv, .md or .html.")
    return code(record)


def _import(args: argparse.Namespace, history: "History") -> int:
    from quantlab.cli.render.tables import printable
    from quantlab.export import LONGEST, read_json

    try:
        with open(args.file, "rb") as opened:
            content = opened.read(LONGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        why = getattr(error, "strerror", error)
        raise BadInput(f"{args.file} cannot be read: {why}.", "Name a file that was exported.") from error
    entry = history.entry(history.keep(read_json(content)))
    print(entry.id)
    about = f"{entry.kind} of {entry.model} ({', '.join(entry.precisions)}), measured {entry.started:%Y-%m-%d %H:%M %Z}"
    print(f"quantlab: kept as {entry.id}: {printable(about)}", file=sys.stderr)
    return 0


_ACTIONS = {
    "list": _list,
    "show": _show,
    "resume": _resume,
    "delete": _delete,
    "prune": _prune,
    "export": _export,
    "import": _import,
}
