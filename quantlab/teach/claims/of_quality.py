"""Claims about what is lost: distances over a text with their errors, answers to tasks."""

from quantlab.fidelity.summary import floor_kld
from quantlab.measure import paired
from quantlab.records import Fidelity, TaskScore, units
from quantlab.records.claims import Figure
from quantlab.teach.claims.evidence import REFERENCE, Evidence
from quantlab.teach.claims.judging import Bound, Judgement, decided, untested

LOW_BITS = ("rtn-3", "rtn-2", "gptq-3", "q3_k_m", "q2_k")
FOUR_BITS = ("nf4", "gptq-4", "q4_k_m")


def _fidelity(found: Evidence, name: str) -> Fidelity | None:
    run = found.run(name)
    return run.fidelity if run else None


def _distances(found: Evidence, *names: str) -> tuple[dict[str, Fidelity], str]:
    """The distances of these precisions, or why one is not known."""
    if why := found.why_no_run(*names):
        return {}, why
    known = {name: it for name in names if (it := _fidelity(found, name))}
    lacking = [name for name in names if name not in known]
    return known, f"{lacking[0]} was not compared with the reference" if lacking else ""


def _kld(known: dict[str, Fidelity]) -> tuple[Figure, ...]:
    return tuple(Figure(f"{name} mean KLD", it.kld.mean, "nats") for name, it in known.items())


def _score(found: Evidence, name: str) -> TaskScore | None:
    """All tasks together: items, the share that is right, and of the reference's right ones lost and won."""
    run = found.run(name)
    scores = list(run.tasks.values()) if run else []
    items = sum(it.items for it in scores)
    if not items:
        return None

    def share(values: list[float | None]) -> float | None:
        return None if None in values else sum(v * it.items for v, it in zip(values, scores, strict=True) if v) / items

    right = share([it.acc for it in scores]) or 0.0
    se = (right * (1 - right) / items) ** 0.5
    lost, won = share([it.flips_lost for it in scores]), share([it.flips_won for it in scores])
    return TaskScore(items, right, se, None, None, lost, won)


def _loss(found: Evidence, name: str) -> tuple[float, float] | None:
    """What of the reference's right answers a precision loses, in percent, and the half-width of its 95 % interval,
    from the flips of the same items (McNemar's variance)."""
    ours, reference = _score(found, name), _score(found, REFERENCE)
    if ours is None or reference is None or not reference.acc or ours.flips_lost is None or ours.flips_won is None:
        return None
    lost, won = ours.flips_lost, ours.flips_won
    se = max(0.0, lost + won - (lost - won) ** 2) ** 0.5 / ours.items**0.5
    return 100 * (lost - won) / reference.acc, 196 * se / reference.acc


def _losses(found: Evidence, *names: str) -> tuple[dict[str, tuple[float, float]], str]:
    if why := found.why_no_run(REFERENCE, *names):
        return {}, why
    known = {name: it for name in names if (it := _loss(found, name))}
    return known, "" if len(known) == len(names) else "no task was measured; the demo has some, with lm-eval installed"


def _percents(known: dict[str, tuple[float, float]]) -> tuple[Figure, ...]:
    return tuple(Figure(f"{name} loses", value, "%") for name, (value, _) in known.items())


def _said(known: dict[str, tuple[float, float]]) -> str:
    return ", ".join(f"{name} loses {value:.1f} ± {half:.1f} %" for name, (value, half) in known.items())


def four_bits(found: Evidence) -> Judgement:
    """Row 5: nf4 with double quantization loses at most 1 % of the right answers, plain rounding to 4 bits more.

    Where the items are too few to tell 1 % from none, nothing is said.
    """
    known, why = _losses(found, "nf4-dq", "rtn-4")
    if why:
        return untested(why)
    value, half = known["nf4-dq"]
    if half > 1 and value - half <= 1 < value + half:
        return untested(f"{_said(known)}: these tasks have too few items to tell", *_percents(known))
    bounds = (
        Bound("nf4-dq loses", value, "at most", 1, "%"),
        Bound("rtn-4 loses", known["rtn-4"][0], "at least", value, "%"),
    )
    return decided(True, f"{_said(known)} of the right answers.", *_percents(known), bounds=bounds)


def nf4_best(found: Evidence) -> Judgement:
    """Row 6: on the same text nf4 lies closer than fp4 and plain int4, beyond the scatter of the windows."""
    known, why = _distances(found, "nf4", "fp4", "rtn-4")
    if why:
        return untested(why)
    apart = {}
    for name in ("fp4", "rtn-4"):
        found_difference = paired.difference(known[name].window_kld, known["nf4"].window_kld)
        if found_difference is None or not found_difference.apart:
            return untested(f"nf4 and {name} cannot be told apart on this text", *_kld(known))
        # Told apart, they are so by more than the margin, to one side or the other.
        apart[name] = Bound(
            f"{name} lies farther by", found_difference.mean, "more than", found_difference.margin, "nats"
        )
    said = ", ".join(f"{name} {units.nats(it.kld.mean)}" for name, it in known.items())
    return decided(True, f"Mean KLD: {said}.", *_kld(known), bounds=apart.values())


def lossless(found: Evidence, names: tuple[str, ...], words: str) -> Judgement:
    """Rows 7 and 23: no farther than the reference is from itself in another rounding (the noise floor)."""
    known, why = _distances(found, *names)
    floor = floor_kld(found.quality) if found.quality else None
    if why or floor is None:
        return untested(why or "there is no noise floor to hold it against", *_kld(known))
    bounds = [Bound(name, it.kld.mean, "at most", floor, "nats") for name, it in known.items()]
    said = ", ".join(f"{name} {units.nats(it.kld.mean)}" for name, it in known.items())
    return decided(
        True,
        f"{words}: {said}; the noise of rounding is {units.nats(floor)}.",
        *_kld(known),
        Figure("noise floor", floor, "nats"),
        bounds=bounds,
    )


def eight_bits(found: Evidence) -> Judgement:
    return lossless(found, ("int8", "q8_0"), "Mean KLD")


def eight_bit_cache(found: Evidence) -> Judgement:
    return lossless(found, ("fp32+kv-int8", "f16+kv-q8_0"), "Mean KLD with keys and values in 8 bits")


def few_bits(found: Evidence) -> Judgement:
    """Row 13: 3 and 2 bits lose at least 5 % of the right answers, and none of them is closer than 4 bits.

    One that was asked nothing (GPTQ's on a CPU) is judged by its distance alone.
    """
    names = tuple(name for name in LOW_BITS if found.run(name))
    if len(names) < 2 or found.why_no_run(*FOUR_BITS):
        return untested(found.why_no_run(*LOW_BITS[:2], *FOUR_BITS) or "too few of them were measured")
    asked = [name for name in names if _score(found, name)]
    known, why = _losses(found, *(asked or names))
    if why:
        return untested(why)
    near = {name: it.kld.mean for name in (*names, *FOUR_BITS) if (it := _fidelity(found, name))}
    best_four = max((near[name] for name in FOUR_BITS if name in near), default=0.0)
    bounds = [Bound(f"{name} loses", value, "at least", 5, "%") for name, (value, _) in known.items()]
    bounds += [
        Bound(f"{name} lies at", near[name], "at least", best_four, "nats")
        for name in names
        if name in near and best_four
    ]
    better = [name for name in names if near.get(name, 1.0) < best_four]
    end = f" {', '.join(better)} lies closer than the farthest of the 4 bits." if better else ""
    figures = (*_percents(known), *(Figure(f"{name} mean KLD", value, "nats") for name, value in near.items()))
    return decided(True, f"{_said(known)} of the right answers.{end}", *figures, bounds=bounds)


def gptq(found: Evidence) -> Judgement:
    """Row 10: GPTQ at 4 bits takes longer to be made, and loses more than bitsandbytes' nf4."""
    known, why = _distances(found, "gptq-4", "nf4")
    ours, theirs = found.run("gptq-4"), found.run("nf4")
    if why or not (ours and theirs and ours.load and theirs.load):
        return untested(why or "they were not loaded")
    made, loaded = ours.load.build_s, theirs.load.load_s
    if made is None or theirs.load.load_origin == "memory":
        return untested("how long gptq-4 or nf4 takes to be made was not measured", *_kld(known))
    farther = known["gptq-4"].kld.mean > known["nf4"].kld.mean
    bounds = (
        Bound("gptq-4 took", made, "more than", loaded, "s"),
        Bound("gptq-4 lies at", known["gptq-4"].kld.mean, "more than", known["nf4"].kld.mean, "nats"),
    )
    return decided(
        True,
        f"It reads a calibration text and took {units.seconds(made)} where nf4 took {units.seconds(loaded)}, once; it "
        f"lies {'farther from' if farther else 'closer to'} the original ({units.nats(known['gptq-4'].kld.mean)}; nf4 "
        f"{units.nats(known['nf4'].kld.mean)}).",
        *_kld(known),
        Figure("gptq-4 quantizing", made, "s"),
        Figure("nf4 loading", loaded, "s"),
        bounds=bounds,
    )


def same_q4(found: Evidence) -> Judgement:
    """Row 25: q4_k_m made without and with an importance matrix: the same types and bytes, another distance."""
    known, why = _distances(found, "q4_k_m", "q4_k_m-imatrix")
    if why:
        return untested(why)
    found_difference = paired.difference(known["q4_k_m"].window_kld, known["q4_k_m-imatrix"].window_kld)
    same = found_difference is None or not found_difference.apart
    bounds = () if found_difference is None else (
        Bound("they differ by", abs(found_difference.mean), "at most", found_difference.margin, "nats"),
    )  # fmt: skip
    return decided(
        same,
        f"Made with an importance matrix it lies {units.nats(known['q4_k_m-imatrix'].kld.mean)} from the original, "
        f"without one {units.nats(known['q4_k_m'].kld.mean)}.",
        *_kld(known),
        bounds=bounds,
    )
