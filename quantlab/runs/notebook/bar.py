"""A bar in a notebook's cell that follows the events of a job. Drawn by IPython, which every notebook has."""

import sys
import time
from typing import Any

from quantlab.measure import trust
from quantlab.records import QualityRun, Run, events, units
from quantlab.reporting.templates import Pieces

_PIECES = Pieces("runs/notebook/bar.html")
#: Seconds between two drawings: each is a message to the browser, and is kept by a notebook that is not watched.
_EVERY_S = 0.2
_STAGES = {
    "speed": "measuring its speed",
    "text": "reading the text",
    "tasks": "answering the tasks",
    "layers": "looking into its layers",
    "again": "timing again",
}


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook: Jupyter, Colab, Kaggle and editors alike."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Bar:
    """One display that is drawn over. `new_tokens` are those that an answer has at most; 0 where that is not asked."""

    def __init__(self, new_tokens: int = 0) -> None:
        self._new_tokens = new_tokens
        self._names: tuple[str, ...] = ()
        self._failed: list[str] = []
        self._notes: list[str] = []
        self._handle: Any = None
        self._drawn_s, self._begun_s = 0.0, time.monotonic()
        self._whole = False

    def tell(self, event: events.Event | events.QualityEvent) -> None:
        """What the event means for whoever watches."""
        match event:
            case events.Started(precisions=names) | events.QualityStarted(precisions=names):
                self._names = names
            case events.Loading(precision=name, done=done, total=total):
                self._draw(name or "model", "loading", done, total)
            case events.Token(precision=name, index=index):
                self._draw(name, f"answering, {units.counted(index + 1, 'token')}", index + 1, self._new_tokens)
            case events.TimingAgain(precision=name, answers=answers):
                self._draw(name, f"timing again, {units.counted(answers, 'answer')}", 0, 0)
            case events.Measuring(precision=name, stage=stage, done=done, total=total, left_s=left):
                self._draw(name, _STAGES[stage] + (f", {units.seconds(left)} left" if left else ""), done, total)
            case events.Finished(run=run) | events.Measured(run=run):
                self._finished(run)
            case events.ReferenceMoved(why=why) | events.TriedAgain(why=why):
                self._notes.append(why)
            case events.Done() | events.QualityDone():
                self._whole = True

    def end(self) -> None:
        """The last drawing: what ran, how long, what failed. Nothing where nothing was drawn."""
        if self._handle is None:
            return
        took = f"{'done' if self._whole else 'ended'} in {units.seconds(time.monotonic() - self._begun_s)}"
        failed = f"; failed: {', '.join(self._failed)}" if self._failed else ""
        self._show(_PIECES.ended(", ".join(self._names) or "quantlab", took + failed, self._notes))

    def _finished(self, run: Run | QualityRun) -> None:
        if run.error and run.precision not in self._failed:
            self._failed.append(run.precision)
        what = "failed" if run.error else "stopped" if run.stopped else "done"
        speed = f", {trust.speed(run)}" if not run.error and run.decode_tokens_per_s else ""
        self._draw(run.precision, what + speed, 1, 1)

    def _draw(self, name: str, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._handle is not None and now - self._drawn_s < _EVERY_S:
            return
        self._drawn_s = now
        place = f" ({self._names.index(name) + 1} of {len(self._names)})" if name in self._names else ""
        known = 0 < total >= done
        self._show(_PIECES.bar(name + place, what, done, total if known else 0, self._notes))

    def _show(self, html: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(html), display_id=True)
        else:
            self._handle.update(HTML(html))
