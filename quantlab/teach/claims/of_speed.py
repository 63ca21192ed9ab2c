"""Claims about time. No speed is compared that `measure.trust` doubts; a ratio within the spread is no difference."""

from quantlab.measure import trust
from quantlab.measure.statistics import median
from quantlab.records import Run, units
from quantlab.records.claims import Figure
from quantlab.teach.claims.evidence import SIXTEEN, Evidence
from quantlab.teach.claims.judging import Bound, Judgement, Kind, decided, speed_doubt, speeds, stored, untested

#: A first pass is slower from here on, as a multiple of later ones.
_SLOWER = 1.1
#: So many loads are needed, of whose ratios the smallest and the largest are left out.
FIRST_LOADS = 5
#: So many of them may have been disturbed.
_DISTURBED_LOADS = 2
#: Ways to quantize whose speed on a processor is asked about.
QUANTIZED = ("int8", "nf4", "gptq-4", "q4_k_m")


def _ratios(
    found: Evidence, names: tuple[str, ...], base: str = SIXTEEN
) -> tuple[dict[str, float], str, tuple[Figure, ...]]:
    """The decode speed of each over that of `base`; 1 where they cannot be told apart; or why they are not held
    against each other."""
    if why := found.why_no_run(base, *names):
        return {}, why, ()
    runs = [run for name in (base, *names) if (run := found.run(name))]
    if why := speed_doubt(*runs):
        return {}, why, speeds(*runs)
    first, *others = runs
    ratios = {
        run.precision: (run.decode_tokens_per_s or 0) / (first.decode_tokens_per_s or 1)
        if trust.apart(run, first)
        else 1.0
        for run in others
    }
    return ratios, "", speeds(*runs)


def _said(ratios: dict[str, float], base: str = SIXTEEN) -> str:
    each = ", ".join(
        f"{name} {units.ratio(ratio) if ratio != 1 else 'no difference'}" for name, ratio in ratios.items()
    )
    return f"Decode speed beside {base}: {each}."


def _bounds(ratios: dict[str, float], *limits: tuple[Kind, float]) -> list[Bound]:
    """Of ratios as `_ratios` gives them: 1 is none that was measured."""
    return [
        Bound(name, ratio, kind, limit, "x", ratio != 1) for name, ratio in ratios.items() for kind, limit in limits
    ]


def slower(found: Evidence) -> Judgement:
    """Row 8: nf4 is 5 to 20 % slower than 16 bits, and GPTQ no slower than 5 %."""
    ratios, why, figures = _ratios(found, ("nf4", "gptq-4"))
    if why:
        return untested(why, *figures)
    bounds = [
        *_bounds({"nf4": ratios["nf4"]}, ("at least", 0.8), ("at most", 0.95)),
        *_bounds({"gptq-4": ratios["gptq-4"]}, ("at least", 0.95)),
    ]
    return decided(True, _said(ratios), *figures, bounds=bounds)


def first_answer(found: Evidence) -> Judgement:
    """Row 9: the first pass after a load takes more than 1.1 times what later ones take.

    Of five loads at least, each with a first pass and later ones of its own. A ratio is one load's first pass over the
    median of its later ones; those between the smallest and the largest must all say the same.
    """
    runs = [run for run in found.first if run.timing and run.timing.warmup_ttft_s is not None and run.ttft_s]
    if len(runs) < FIRST_LOADS:
        failed = next((run.error for run in found.first if run.error), "too few first answers were timed")
        return untested(found.missing.get("first", failed))
    first, later = map(median, zip(*map(_passes, runs), strict=True))
    loads = [ours / theirs for ours, theirs in map(_passes, runs)]
    figures = (
        Figure("first pass", first or 0.0, "s"),
        Figure("later pass", later or 0.0, "s"),
        *(Figure(f"load {at}: first beside later", ratio, "x") for at, ratio in enumerate(loads, 1)),
    )
    if len(doubts := list(filter(None, map(trust.doubt, runs)))) > _DISTURBED_LOADS:
        return untested(f"{runs[0].precision}: {doubts[0]}", *figures)
    said = f"{runs[0].precision}, loaded {len(runs)} times: {units.seconds(first)} then {units.seconds(later)}"
    inner = sorted(loads)[1:-1]
    if inner[0] <= _SLOWER < inner[-1]:
        return untested(
            f"{said}, but from load to load between {units.ratio(inner[0])} and {units.ratio(inner[-1])}", *figures
        )
    bounds = _bounds({"the first pass": inner[0]}, ("more than", _SLOWER))
    return decided(True, f"{said}, in the median.", *figures, bounds=bounds)


def _passes(run: Run) -> tuple[float, float]:
    """Seconds of the pass right after the load, and the median of those after it."""
    assert run.timing is not None and run.timing.warmup_ttft_s is not None and run.ttft_s is not None
    return run.timing.warmup_ttft_s, run.ttft_s


def on_cpu(found: Evidence) -> Judgement:
    """Row 15: on a processor no way of quantizing decodes faster than 16 bits."""
    if found.quality and not (found.quality.settings.placement.device or "cpu").startswith("cpu"):
        return untested(f"the model ran on {found.quality.settings.placement.device}")
    names = tuple(name for name in QUANTIZED if found.run(name))
    if not names:
        return untested(found.why_no_run(*QUANTIZED))
    ratios, why, figures = _ratios(found, names)
    if why:
        return untested(why, *figures)
    return decided(True, _said(ratios), *figures, bounds=_bounds(ratios, ("at most", 1)))


def eight_against_four(found: Evidence) -> Judgement:
    """Row 18: int8 is faster than nf4, and takes 1.8 to 2.2 times the bytes."""
    ratios, why, figures = _ratios(found, ("int8",), "nf4")
    if why:
        return untested(why, *figures)
    runs = [run for name in ("int8", "nf4") if (run := found.run(name))]
    memory = stored(runs[0]) / stored(runs[1])
    bounds = [
        *_bounds(ratios, ("more than", 1)),
        *_bounds({"int8 in memory": memory}, ("at least", 1.8), ("at most", 2.2)),
    ]
    return decided(
        True,
        f"{_said(ratios, 'nf4')} Memory: {units.ratio(memory)}.",
        *figures,
        Figure("int8 memory beside nf4", memory, "x"),
        bounds=bounds,
    )


def slightly_faster(found: Evidence) -> Judgement:
    """Row 19: nf4 and int8 decode faster than 16 bits, by at most a quarter."""
    ratios, why, figures = _ratios(found, ("int8", "nf4"))
    if why:
        return untested(why, *figures)
    return decided(True, _said(ratios), *figures, bounds=_bounds(ratios, ("more than", 1), ("at most", 1.25)))


def four_faster(found: Evidence) -> Judgement:
    """Row 22: every 4-bit precision decodes faster than 16 bits."""
    ratios, why, figures = _ratios(found, ("nf4", "gptq-4", "q4_k_m"))
    if why:
        return untested(why, *figures)
    return decided(True, _said(ratios), *figures, bounds=_bounds(ratios, ("more than", 1)))
