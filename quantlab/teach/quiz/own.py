"""Questions of one's own: exports of comparisons in a folder, made of a comparison's result or put there by hand."""

import hashlib
import json
import logging
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from quantlab.errors import BadInput, QuantlabError, Unavailable
from quantlab.export import record_data
from quantlab.records import Comparison, Run
from quantlab.reporting.advice.one_prompt import distance
from quantlab.runtime.disk import disk_error
from quantlab.teach.quiz import questions
from quantlab.teach.quiz.questions import Question, is_quantized

log = logging.getLogger(__name__)
#: The most questions of one's own.
MOST = 100


def every(folder: Path | None) -> tuple[Question, ...]:
    """The questions in a folder, in the order of their names, and then the bundled ones.

    A file that is no question is left out, and the log says why.
    """
    own = () if folder is None else tuple(filter(None, map(_read, _files(folder))))
    return own + questions.bundled()


def make(folder: Path, comparison: Comparison) -> Question:
    """Keep a comparison's result as a question, in place of an earlier one of the same model and prompt.

    Of the quantized answers it takes the one that is the hardest to find: it differs in its words, and its
    probabilities are the nearest to the reference's. Raises BadInput where no answer differs or there are too many
    questions, Unavailable or ModelError where the folder cannot be written.
    """
    chosen = min(questions.candidates(comparison), key=lambda name: _distance(comparison.run(name)), default=None)
    if chosen is None:
        raise BadInput(
            "No quantized answer differs from the unquantized ones in its words.",
            "Compare with fewer bits, or with a longer answer.",
        )
    prompt = f"{comparison.model.name}\n{comparison.prompt}".encode("utf-8", "replace")
    stem = f"own-{hashlib.sha256(prompt).hexdigest()[:8]}"
    question = questions.question_of(f"{stem}-{chosen}", _only(comparison, chosen))
    earlier = list(folder.glob(f"{stem}-*.json"))
    if not earlier and len(_files(folder)) >= MOST:
        raise BadInput(f"There are {MOST} questions of your own already.", f"Remove some from {folder}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{question.id}.part"
        part.write_text(json.dumps(record_data(question.comparison), allow_nan=False) + "\n", "ascii")
        for file in earlier:
            file.unlink()
        part.rename(folder / f"{question.id}.json")
    except OSError as error:
        raise disk_error(error) from error
    return question


def _distance(run: Run) -> float:
    found = distance(run)
    return float("inf") if found is None else found


def _only(comparison: Comparison, chosen: str) -> Comparison:
    """Without the other quantized answers, and without what was said already or failed."""
    runs: list[Run] = []
    for run in comparison.runs:
        said = {earlier.text.strip() for earlier in runs}
        if run.precision == chosen or not (is_quantized(run) or run.error or run.stopped or run.text.strip() in said):
            runs.append(run)
    if comparison.reference not in {run.precision for run in runs}:
        raise BadInput(
            "The reference of this comparison is quantized itself, or gave no whole answer.",
            "Compare again with fp32 or bf16 as the reference.",
        )
    return replace(comparison, runs=tuple(runs))


def _files(folder: Path) -> list[Path]:
    """Its files as exports are called, the first ones where there are too many."""
    try:
        return sorted(folder.glob("*.json"))[:MOST]
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be read: {error.strerror}.", "Check its rights.") from error


def _read(file: Path) -> Question | None:
    try:
        state = file.stat()
        return _read_once(file, state.st_mtime_ns, state.st_size)
    except OSError as error:  # it went away meanwhile
        log.warning("%s is left out of the quiz: %s", file.name, error)
        return None


@lru_cache(maxsize=2 * MOST)
def _read_once(file: Path, changed: int, size: int) -> Question | None:
    """The question of a file as it was at a time; read again when it has changed, and complained of once."""
    try:
        return questions.read_file(file)
    except QuantlabError as error:
        log.warning("%s is left out of the quiz: %s", file.name, error)
        return None
