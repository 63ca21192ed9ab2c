"""The text that GPTQ and AWQ read while they quantize, and the windows of tokens that it is cut into."""

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.demo.corpus import ASSISTANT, END, HELD_OUT_SEED, USER, documents
from quantlab.errors import BadInput
from quantlab.records import Calibration, units

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: A text of which far more could be read than any calibration uses is a mistake.
MAX_BYTES = 50_000_000
#: Below this a window shows a layer hardly anything but how a text begins.
MIN_LENGTH = 16
#: Characters that are tokenized at once: a text is tokenized no further than it is needed.
_BLOCK = 200_000


def calibration(file: Path | str | None = None, samples: int = 128, length: int = 2_048) -> Calibration:
    """What a user asked to calibrate with; `file` None or empty is the bundled text.

    Raises BadInput for numbers out of range and for a file that is missing, no UTF-8, empty or too long.
    """
    if samples < 1:
        raise BadInput(f"{samples} samples cannot be.", "Calibrate with at least 1; 128 are usual.")
    if length < MIN_LENGTH:
        raise BadInput(f"Samples of {length} tokens are too short.", f"Give at least {MIN_LENGTH}; 2048 are usual.")
    if file is None or not str(file).strip():
        return Calibration(None, "", samples, length)
    path = Path(os.path.expanduser(file)).absolute()
    content = _content(path)
    return Calibration(path, hashlib.sha256(content).hexdigest(), samples, length)


def windows(tokenizer: "PreTrainedTokenizerBase", wanted: Calibration, context: int | None) -> list[list[int]]:
    """Token ids of up to `samples` consecutive windows of min(length, context) tokens, none shorter.

    Fewer where the text ends before. Raises BadInput where it does not fill one window, or changed since it was chosen.
    """
    length = min(wanted.length, context or wanted.length)
    needed = wanted.samples * length
    ids: list[int] = []
    file = wanted.file
    for piece in _bundled(tokenizer) if file is None else _pieces(tokenizer, _text(file, wanted)):
        ids += piece
        if len(ids) >= needed:
            break
    if len(ids) < length:
        raise BadInput(
            f"The calibration text has {units.counted(len(ids), 'token')}, and one window needs {length}.",
            f"Give a longer text, or shorter samples: at most {len(ids)} tokens.",
        )
    return [ids[start : start + length] for start in range(0, min(needed, len(ids) - length + 1), length)]


def _bundled(tokenizer: "PreTrainedTokenizerBase") -> Iterator[list[int]]:
    """Documents of the demo world as the demo model was trained on them; a measurement reads none of these.

    A tokenizer that does not know the marks of its chats sees plain text.
    """
    knows_marks = END in tokenizer.get_vocab()
    for text in islice(documents(), HELD_OUT_SEED):
        ended = text if text.endswith(END) else text + END
        if not knows_marks:
            ended = ended.replace(USER, "").replace(ASSISTANT, " ").replace(END, "\n")
        yield tokenizer(ended, verbose=False)["input_ids"]


def _pieces(tokenizer: "PreTrainedTokenizerBase", text: str) -> Iterator[list[int]]:
    """The text in blocks that end with a line where there is one; what belongs in front of a text comes once."""
    start = 0
    while start < len(text):
        stop = min(start + _BLOCK, len(text))
        if stop < len(text):
            stop = text.rfind("\n", start, stop) + 1 or stop
        yield tokenizer(text[start:stop], add_special_tokens=start == 0, verbose=False)["input_ids"]
        start = stop


def _text(file: Path, wanted: Calibration) -> str:
    content = _content(file)
    if wanted.digest and hashlib.sha256(content).hexdigest() != wanted.digest:
        raise BadInput(f"The calibration text {file} changed since it was chosen.", "Choose it again.")
    return content.decode("utf-8")


def _content(path: Path) -> bytes:
    """The bytes of a text file, checked."""
    try:
        if not path.is_file():
            raise BadInput(f"There is no calibration text {str(path)!r}.", "Check the name of the file.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadInput(
                f"The calibration text is {size / 1e6:.0f} MB long.", f"Give at most {MAX_BYTES / 1e6:.0f} MB of text."
            )
        content = path.read_bytes()
        if not content.decode("utf-8").strip():
            raise BadInput(f"The calibration text {path.name!r} is empty.", "Give a text like those the model reads.")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"The calibration text {path.name!r} is no UTF-8 (byte {error.start}).", "Save it as plain text in UTF-8."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"The calibration text {str(path)[:200]!r} cannot be read ({reason}).", "Check it.") from None
    return content
