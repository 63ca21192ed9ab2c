"""Load: `make load`. A class asks, and votes, at once on public pages in processes of their own.

Sixty programs and ten browsers ask for comparisons (`scenes`), beside an echo page; docs/load.md is written of it. Then
thirty visitors vote (`voting`). Ends with 1 where somebody is lost, the first word takes too long, the server spoke to
another host, or the voting fails.
"""

import argparse
import os
import sys
from pathlib import Path

from tests.load import report, scenes, voting
from tests.load.serving import ROOT

#: By then 95 of 100 visitors have been told where they stand, in seconds.
FIRST_WORD_S = 10.0
_PARTS = ("asking", "voting")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--programs", type=int, default=60)
    parser.add_argument("--browsers", type=int, default=10)
    parser.add_argument("--each", type=int, default=3, help="questions of each program where it is to be too many")
    parser.add_argument("--out", default=str(ROOT / "docs" / "load.md"))
    voting.options(parser)
    args = parser.parse_args()
    good = True
    if "asking" in args.parts:
        good = _asked(args)
    if "voting" in args.parts:
        good = voting.voted(args) and good
    return int(not good)


def _asked(args: argparse.Namespace) -> bool:
    before, good = os.getloadavg()[0], True
    found = [scenes.echoed(args.programs, args.browsers), *scenes.asked(args.programs, args.browsers)]
    found.append(scenes.overfull(args.programs, args.each))
    for scene in found:
        late = scene.seconds(95, lambda it: it.told_s)
        print(
            f"{scene.title}: {len(scene.heard)} asked, {scene.count('answered')} answered, "
            f"{scene.count('refused')} refused, {scene.count('lost')} lost; "
            f"first word p95 {late if late is None else round(late, 2)} s",
            flush=True,
        )
        for words in sorted({it.words for it in scene.heard if it.outcome == "lost"}):
            print(f"  lost: {words}", flush=True)
        if scene is not found[0]:  # the echo page is gradio's own
            soon = late is not None and late < FIRST_WORD_S
            good = good and not scene.count("lost") and not scene.strangers and soon
    report.write(Path(args.out), found, args.programs, args.browsers, before)
    return good


if __name__ == "__main__":
    sys.exit(main())
