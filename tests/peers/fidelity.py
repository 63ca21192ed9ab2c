"""KLD and perplexity: quantlab's figures beside those of `llama-perplexity`, of the same files over the same tokens."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from quantlab.fidelity.figures import fidelity
from quantlab.fidelity.reading import read_reference, read_variant
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.texts import text
from quantlab.fidelity.windows import WINDOW, Windows, windows
from quantlab.models.tokenizer import added_bos, load_tokenizer
from quantlab.records import Fidelity, silent
from tests.peers import files, programs
from tests.peers.printed import Figures, figures, windows_of

TEXT = "english"


@dataclass(frozen=True)
class Row:
    """The figures of one file beside the reference: quantlab's and llama-perplexity's."""

    precision: str
    ours: Figures
    theirs: Figures


@dataclass(frozen=True)
class Read:
    """What both read: windows of a text, and in each the same positions."""

    text: str
    tokens: int
    windows: int
    size: int
    scored: int
    reference: str


def measure(precisions: Sequence[str]) -> tuple[Read, list[Row]]:
    """One row for each precision. Raises ValueError where the two do not read the same tokens."""
    read, rows = _windows(), []
    count = len(read.ids)
    with TemporaryDirectory(prefix="quantlab-peers-") as name:
        folder, store = Path(name), ScoreStore(Path(name), 10**12)
        content, base = folder / "text", folder / "base"
        content.write_text(text(TEXT).content, "utf-8")
        with files.opened(files.REFERENCE) as both:
            _perplexity(both.file, "-f", content, "--chunks", count, "--kl-divergence-base", base)
            if windows_of(base) != read.ids:
                raise ValueError("llama-perplexity reads other tokens of the text than quantlab")
            reference, _ = read_reference(both.loaded, read, store, "reference", silent)
        for precision in precisions:
            with files.opened(precision) as both:
                theirs = figures(_perplexity(both.file, "--kl-divergence", "--kl-divergence-base", base))
                ours = of_quantlab(fidelity(read_variant(both.loaded, read, reference, silent), count))
            rows.append(Row(precision, ours, theirs))
            print(f"fidelity {precision}: {ours.kld:.6f} beside {theirs.kld:.6f}", file=sys.stderr, flush=True)
    return Read(TEXT, read.tokens, count, read.size, read.scored, files.REFERENCE), rows


def of_quantlab(found: Fidelity) -> Figures:
    """quantlab's figures of one variant under the names that both have."""
    return Figures(
        kld=found.kld.mean,
        kld_median=found.kld.median,
        kld_p99=found.kld.p99,
        kld_max=found.kld.max,
        ppl=found.ppl.value,
        ppl_reference=found.ppl.value / found.ppl.ratio,
        ppl_ratio=found.ppl.ratio,
        delta_p_mean=found.delta_p_mean,
        delta_p_rms=found.delta_p_rms,
        same_top=found.same_top,
    )


def _windows() -> Windows:
    tokenizer = load_tokenizer(files.model())
    ids = tokenizer.encode(text(TEXT).content, add_special_tokens=False, verbose=False)
    return windows(ids, added_bos(tokenizer), WINDOW)


def _perplexity(file: Path, *arguments: object) -> str:
    """One window at a time, as quantlab reads them."""
    return programs.run("llama-perplexity", "-m", file, "-c", WINDOW, "-b", WINDOW, *files.alike(), *arguments)
