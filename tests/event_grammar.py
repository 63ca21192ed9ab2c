"""The order of events that every consumer may rely on, held against real streams and against the fakes' alike."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from quantlab.records.events import (
    Done,
    Event,
    Finished,
    Loaded,
    Loading,
    Measured,
    Measuring,
    NotKept,
    QualityDone,
    QualityEvent,
    QualityStarted,
    ReferenceMoved,
    Started,
    TimingAgain,
    Token,
    TriedAgain,
)

#: What may come next of one column, by the kind of its latest event.
_NEXT: dict[type | None, tuple[type, ...]] = {
    None: (Loading, Finished, Measured),
    Loading: (Loading, Loaded, Finished, Measured),
    Loaded: (Token, Measuring, Finished, Measured),
    Token: (Token, TimingAgain, Finished),
    TimingAgain: (TimingAgain, Finished),
    Measuring: (Measuring, Measured, Loading),
    # The reference is loaded once more for the layers; what was measured comes again with a speed of more answers.
    Measured: (Measuring, Measured, Loading),
    Finished: (),
}
#: The order of what is measured of one column; `again` comes when all have had their turn.
_STAGES = ("speed", "text", "tasks", "layers", "again")


@dataclass
class _Columns:
    """What is known of the columns so far."""

    names: tuple[str, ...]
    race: bool
    latest: dict[str, type] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def forget(self, name: str) -> None:
        """It begins anew."""
        for known in (self.latest, self.tokens, self.answers, self.stages):
            known.pop(name, None)

    def see(self, event: Event | QualityEvent) -> None:
        run = getattr(event, "run", None)
        name, kind = (run.precision if run is not None else event.precision), type(event)
        before = self.latest.get(name)
        assert kind in _NEXT[before], f"{name}: {kind.__name__} after {before and before.__name__}"
        # Speeds are measured again in turn, of all that have had their end.
        begun = [it for it in self.latest if it in self.names and it not in self.ended and it != name]
        assert self.race or not begun, f"{name} begins while {begun} have not ended"
        self.latest[name] = kind
        if kind in (Finished, Measured):
            self.ended.add(name)
        match event:
            case Token(index=index):
                assert index == self.tokens.get(name, 0), f"{name}: token {index} is out of turn"
                self.tokens[name] = index + 1
            case TimingAgain(answers=answers):
                assert answers > self.answers.get(name, 0), f"{name}: {answers} answers after as many"
                self.answers[name] = answers
            case Loading(done=done, total=total):
                assert 0 <= done <= max(total, done) and total >= 0
            case Measuring(stage=stage, done=done, total=total):
                place = _STAGES.index(stage)
                assert place >= self.stages.get(name, 0), f"{name}: {stage} after {_STAGES[self.stages[name]]}"
                assert 0 <= done <= total
                self.stages[name] = place


def checked(
    events: Iterator[Event] | Iterator[QualityEvent], race: bool = False
) -> Generator[Event | QualityEvent, None, None]:
    """The same events, each held to the grammar.

    A race writes several answers at once; else a column has ended before the next one begins. What is read beside the
    columns, for the noise floor, has no end of its own.
    """
    columns: _Columns | None = None
    ended = False
    with closing(events):
        for event in events:
            assert not ended, f"{event} after the end"
            match event:
                case (
                    Started(precisions=names, reference=reference)
                    | QualityStarted(precisions=names, reference=reference)
                ):
                    assert columns is None and reference in names and len(set(names)) == len(names)
                    columns = _Columns(names, race)
                case Done() | QualityDone():
                    ended = True
                    record = event.comparison if isinstance(event, Done) else event.quality
                    if columns is not None:
                        assert {run.precision for run in record.runs} == set(columns.names)
                        absent = [
                            name for name in columns.names if columns.latest.get(name) not in (Finished, Measured)
                        ]
                        assert not absent, f"no end of {absent}"
                case NotKept() | ReferenceMoved():
                    pass
                case TriedAgain(precision=name):
                    assert columns is not None and name not in columns.ended, f"{name} is tried again after its end"
                    columns.forget(name)
                case Loading(precision=""):
                    assert columns is None, "the model is found before the columns begin"
                case _:
                    assert columns is not None, f"{event} before the start"
                    columns.see(event)
            yield event
