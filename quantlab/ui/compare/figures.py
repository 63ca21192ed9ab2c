"""A run's figures as rows of text: the name for people, the field's term, the value with its unit, the exact value."""

from dataclasses import dataclass, replace

from quantlab.measure import trust
from quantlab.measure.statistics import mean, median, percentile
from quantlab.records import Load, Peak, Run, Timing, units
from quantlab.records.served import Served
from quantlab.reporting.advice.words import listed
from quantlab.runtime.kv_cache import RESERVED_DETAIL


@dataclass(frozen=True)
class Figure:
    """One row. `exact` is shown on hover; `text` True marks words, which are not aligned like numbers.

    `anchor` names the definition in docs/measurement.md; a row without one has no name in the field.
    """

    name: str
    value: str
    term: str = ""
    exact: str = ""
    text: bool = False
    anchor: str = ""


NOT_YET = units.NONE
#: Where the whole model has so many times the bits of its quantized layers, a remark says why.
_WIDER = 1.2


def headline(run: Run | None, load: Load | None, reference: str) -> tuple[Figure, ...]:
    """The figures that a comparison is about, always the same rows: a dash for each that is not known yet."""
    return (
        _rate(run),
        _first_token(run),
        _bytes("Weights stored", load.stored_bytes if load else None, "stored_bytes", "stored_bytes"),
        _bits_of_all(load),
        *_fidelity(run, reference),
    )


def details(run: Run | None, load: Load | None) -> tuple[Figure, ...]:
    """Every other figure that was measured; what was not is left out."""
    rows: list[Figure] = []
    if run and run.timing:
        rows += _times(run, run.timing)
    if run and run.bandwidth_share is not None:
        share = run.bandwidth_share
        rows.append(
            Figure(
                "Memory bandwidth used", units.percent(share), "bandwidth share", f"{share!r}", anchor="bandwidth_share"
            )
        )
    if load:
        rows += _memory(load)
    if run and run.peak and run.peak.bytes is not None:
        label = "Peak (estimate)" if run.peak.estimate else "Peak"
        rows.append(_bytes(label, run.peak.bytes, _peak_term(run.peak), "peak_bytes"))
    if run and run.kv_cache_bytes is not None:
        rows.append(_bytes("KV cache", run.kv_cache_bytes, "keys and values at the end of the run", "kv_cache_bytes"))
    if load:
        rows += _loading(load)
    if run and run.served and run.served.distance is not None:
        rows.append(_coarse(run.served))
    if run and run.nonfinite:
        rows.append(Figure("Broken logits", f"{run.nonfinite:,}", "not finite: NaN or infinity", anchor="nonfinite"))
    return tuple(rows)


def remarks(run: Run | None, load: Load | None, greedy: bool = False) -> tuple[str, ...]:
    """Sentences that belong to the figures: why two seem to contradict, that times do not count.

    `greedy`: the likeliest token is known to have been taken each time.
    """
    found = [run.caution] if run and run.caution else []
    found += load.notes if load else ()
    found += run.served.said if run and run.served else ()
    if load and (inside := narrow_bits(load)):
        found.append(
            f"Only the quantized layers have {units.bits(inside)} a weight: embeddings and norms stay wider, and the "
            f"whole model comes to {units.bits(load.bits_per_weight)}."
        )
    if load and run and run.peak and run.peak.bytes is not None and run.peak.bytes < load.stored_bytes:
        repacked = f"while they run they take {units.size(load.running_bytes)}"
        why = repacked if load.running_bytes < load.stored_bytes else "not all of them lay in this memory at one time"
        found.append(f"Its peak is below what the weights take when stored: {why}.")
    if load and run and run.kv_cache_bytes and RESERVED_DETAIL in load.details:
        found.append(
            f"Its KV cache of {units.size(run.kv_cache_bytes)} is {load.details[RESERVED_DETAIL]}. That of columns "
            "which transformers runs grows with the text and holds only what was read and written."
        )
    if run and greedy and (early := _before_it_parts(run)):
        found.append(
            f"At {early} its likeliest token differs already when it reads the reference’s answer: reading many tokens "
            "at once rounds otherwise than writing one by one, and near ties tip over."
        )
    if run and (few := trust.few(len(run.differences))):
        found.append(f"Its distance and agreement are {few}.")
    if run and run.timing and not run.timings_count:
        found.append("Ran in a race: its times do not count.")
    elif run and run.decode_tokens_per_s and (doubt := trust.doubt(run)):
        found.append(f"Its speed is not compared with others: {doubt}.")
    return tuple(found)


def narrow_bits(load: Load) -> float | None:
    """Bits of a weight in the quantized layers, where the whole model has so many more that a reader may wonder."""
    inside = load.bits_per_quantized_weight
    return inside if inside and load.bits_per_weight and load.bits_per_weight > _WIDER * inside else None


def _before_it_parts(run: Run) -> str:
    """The tokens that differ in reading before the answers do in writing; empty without any."""
    end = run.first_divergence.index if run.first_divergence else len(run.differences)
    places = [str(place) for place, it in enumerate(run.differences[:end]) if not it.same_top]
    return f"token{'s' * (len(places) > 1)} {listed(places[:5])}" if places else ""


def _bits_of_all(load: Load | None) -> Figure:
    """Of the whole model, and of the quantized layers beside it where that is far from it."""
    of_all = _bits("Bits per weight", load.bits_per_weight if load else None, "whole model")
    if load is None or not (inside := narrow_bits(load)):
        return of_all
    told = f"whole model; in the quantized layers {units.number(inside)}, as embeddings and norms stay wider"
    return replace(of_all, value=f"{of_all.value} (layers {units.number(inside)})", exact=told)


def _rate(run: Run | None) -> Figure:
    name, term = "Speed", "decode tokens per second"
    if run is None or run.decode_tokens_per_s is None:
        return Figure(name, NOT_YET, term, anchor="decode_tokens_per_s")
    exact = f"{run.decode_tokens_per_s!r} tokens/s, {trust.answers(run.decode_samples)}"
    return Figure(name, trust.speed(run), term, exact, anchor="decode_tokens_per_s")


def _first_token(run: Run | None) -> Figure:
    name, term = "First token after", "time to first token (TTFT)"
    if run is None or run.ttft_s is None:
        return Figure(name, NOT_YET, term, anchor="ttft_s")
    value = units.seconds(run.ttft_s) + trust.around(run.ttft_samples)
    each = ", ".join(map(units.seconds, run.ttft_samples)) if len(run.ttft_samples) > 1 else ""
    exact = units.exact_seconds(run.ttft_s) + (f", the median of {each}" if each else "")
    return Figure(name, value, term, exact, anchor="ttft_s")


def _fidelity(run: Run | None, reference: str) -> tuple[Figure, Figure]:
    """How near a variant stays to the reference when it reads the reference's answer."""
    same_name, kld_name = "Same likeliest token", "Distance (KLD)"
    same_term = f"same_top: share of positions of {reference}'s answer where both have the same most likely token"
    kld_term = f"mean Kullback-Leibler divergence from {reference} over its answer"
    if run is None or not run.differences:
        return (
            Figure(same_name, NOT_YET, same_term, anchor="same_top"),
            Figure(kld_name, NOT_YET, kld_term, anchor="kld"),
        )
    count = len(run.differences)
    same, few = sum(it.same_top for it in run.differences), trust.few(count)
    more = f", {few}" if few else ""
    kld = mean([it.kld for it in run.differences])
    exact = f"{same} of {units.counted(count, 'token')}{more}"
    return (
        Figure(same_name, units.percent(same / count), same_term, exact, anchor="same_top"),
        Figure(kld_name, units.nats(kld), kld_term, f"{kld!r} nats{more}", anchor="kld"),
    )


def _coarse(served: Served) -> Figure:
    """The divergence that a server's few log-probabilities allow, under a name of its own."""
    exact = f"{served.distance!r} nats over {units.counted(len(served.top_k_kld), 'position')}; at most the full KLD"
    name, term = f"Distance, top {served.top_k} only", "top-k divergence: tokens that are not told count as one"
    return Figure(name, units.nats(served.distance), term, exact, anchor="top_k_kld")


def _times(run: Run, timing: Timing) -> list[Figure]:
    """Those of the answer that is shown; the headline has the medians of all that were timed."""
    rows = []
    if len(run.ttft_samples) > 1:
        rows.append(
            Figure(
                "First token, this answer",
                units.seconds(timing.ttft_s),
                "TTFT of the answer shown",
                units.exact_seconds(timing.ttft_s),
                anchor="ttft_s",
            )
        )
    if len(run.decode_samples) > 1:
        rate = timing.decode_tokens_per_s
        rows.append(
            Figure(
                "Speed, this answer",
                units.rate(rate),
                "decode tokens per second of the answer shown",
                f"{rate!r} tokens/s",
                anchor="decode_tokens_per_s",
            )
        )
    if timing.itl_s:
        middle, late = median(timing.itl_s), percentile(timing.itl_s, 95)
        rows.append(
            Figure(
                "Between tokens, median",
                units.seconds(middle),
                "inter-token latency (ITL)",
                units.exact_seconds(middle),
                anchor="itl_s",
            )
        )
        rows.append(
            Figure(
                "Between tokens, 95 %",
                units.seconds(late),
                "95th percentile of the ITL",
                units.exact_seconds(late),
                anchor="itl_s",
            )
        )
    rate = timing.prefill_tokens_per_s
    rows.append(
        Figure(
            "Reading the prompt",
            units.rate(rate),
            "prefill tokens per second",
            f"{rate!r} tokens/s",
            anchor="prefill_tokens_per_s",
        )
    )
    return rows


def _memory(load: Load) -> list[Figure]:
    rows = []
    if load.running_bytes != load.stored_bytes:
        rows.append(
            _bytes("Weights while running", load.running_bytes, "running_bytes: kernels repack", "running_bytes")
        )
    if load.bits_per_quantized_weight is not None:
        rows.append(_bits("Bits, quantized layers", load.bits_per_quantized_weight, "quantized layers alone"))
    return rows


def load_line(load: Load | None) -> str:
    """Where a variant came from and how long that took, in a few words; empty before it has loaded."""
    if load is None:
        return ""
    loaded = units.seconds(load.load_s)
    if load.load_origin == "memory":
        return "was in memory already"
    if load.build_s is None:
        quantized = load.load_origin == "built" and load.bits_per_quantized_weight is not None
        return f"read and quantized in {loaded}" if quantized else f"read in {loaded}"
    took = units.seconds(load.build_s)
    if load.load_origin == "disk":
        return f"read from disk in {loaded}; quantizing had taken {took}"
    return f"quantized in {took}, ready after {loaded}"


def _loading(load: Load) -> list[Figure]:
    quantized = load.bits_per_quantized_weight is not None
    origin = {
        "built": "reading and quantizing" if quantized else "reading",
        "disk": "reading what was quantized before",
        "memory": "nothing: it was in memory",
    }
    where = sorted(set(load.device_map.values()))
    load_s = units.exact_seconds(load.load_s)
    rows = [Figure("Load", units.seconds(load.took_s), "from asking to being ready", load_s, anchor="load_s")]
    if load.build_s is not None:
        built = units.exact_seconds(load.build_s)
        rows.append(
            Figure(
                "Quantizing took",
                units.seconds(load.build_s),
                "to the checkpoint kept on disk",
                built,
                anchor="build_s",
            )
        )
    return [
        *rows,
        Figure("Loaded by", origin[load.load_origin], f"load_origin: {load.load_origin}", text=True),
        Figure("Computes in", load.compute_dtype, "compute dtype that really ran", text=True),
        Figure("Kernel", load.kernel, "kernel that really ran", text=True),
        *([Figure("Device", ", ".join(where), _layers(load), text=True)] if where else []),
    ]


def _layers(load: Load) -> str:
    """Which layer lies where; the empty name of a device map is the whole model."""
    return "; ".join(f"{name or 'everything'}: {device}" for name, device in load.device_map.items())


def _peak_term(peak: Peak) -> str:
    parts = (("reserved", peak.reserved), ("whole process", peak.process))
    more = [f"{name} {units.size(value)}" for name, value in parts if value is not None]
    by_growth = ["by how this process grew, which hangs on what ran before: the same weights can show another peak"]
    return "; ".join(["most memory in use while the prompt ran", *(by_growth if peak.estimate else []), *more])


def _bytes(name: str, count: int | None, term: str, anchor: str) -> Figure:
    if count is None:
        return Figure(name, NOT_YET, term, anchor=anchor)
    return Figure(name, units.size(count), term, units.exact_bytes(count), anchor=anchor)


def _bits(name: str, bits: float | None, term: str) -> Figure:
    if bits is None:
        return Figure(name, NOT_YET, term, anchor="bits_per_weight")
    return Figure(name, units.number(bits), term, f"{bits!r} bits", anchor="bits_per_weight")
