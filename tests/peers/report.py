"""What was measured beside llama.cpp's programs, as a page of the documentation."""

from collections.abc import Callable, Mapping

#: Of a mean KLD or a perplexity, as a share of llama-perplexity's; of a decode speed, as a share of llama-bench's.
NEAR, FAST = 0.01, 0.97
_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("kld_median", "median KLD", "{:.6f}".format),
    ("kld_p99", "99 % KLD", "{:.6f}".format),
    ("kld_max", "largest KLD", "{:.6f}".format),
    ("ppl_ratio", "PPL ratio", "{:.6f}".format),
    ("delta_p_mean", "mean Δp", "{:+.3f} %".format),
    ("delta_p_rms", "RMS Δp", "{:.3f} %".format),
    ("same_top", "same top token", "{:.3%}".format),
)


def markdown(result: Mapping) -> str:
    """Markdown of one result, as `__main__` writes it; a part that was not measured is left out."""
    lines = [
        "# Beside llama.cpp's own programs",
        "",
        "`llama-perplexity` and `llama-bench`, built of the source of the installed llama-cpp-python and run with its "
        "libraries, so that the same code multiplies on both sides, and quantlab, on the same GGUF files. Made by "
        "`make peers`.",
    ]
    if "fidelity" in result:
        lines += ["", "## Fidelity", "", *_fidelity(result["fidelity"])]
    if "speed" in result:
        lines += ["", "## Speed", "", *_speed(result["speed"])]
    return "\n".join(lines) + "\n"


def _about(part: Mapping) -> str:
    machine = part["machine"]
    numbers = ", ".join(f"{name} {number}" for name, number in part["versions"].items())
    return (
        f"{part['date']}, {machine['cpu']}, {machine['cores']} cores, {part['threads']} threads, {machine['system']}, "
        f"{numbers}; {part['model']['name']} ({part['model']['kind']})."
    )


def _fidelity(part: Mapping) -> list[str]:
    read, rows = part["read"], part["rows"]
    worst = max(abs(_off(row, name)) for row in rows for name in ("kld", "ppl"))
    said = f"no further apart than {worst:.2%}" + ("" if worst <= NEAR else f", more than the {NEAR:.0%} wanted")
    return [
        _about(part),
        "",
        f"The reference is the file in {read['reference']}, on both sides. {read['windows']} windows of {read['size']} "
        f"tokens of the text `{read['text']}`, each from an empty cache; tokens {read['size'] // 2 + 1} to "
        f"{read['size'] - 1} of each are scored, {read['scored']:,} in all. That both read the same ids is checked. "
        f"Set equal besides: keys and values in {_cache(part)}, no flash attention (llama.cpp's default is to use it), "
        "one window a batch.",
        "",
        f"Mean KLD and perplexity are {said}.",
        "",
        "| file | mean KLD, quantlab | llama-perplexity | apart | PPL, quantlab | llama-perplexity | apart |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_means(row) for row in rows),
        "",
        "| file | figure | quantlab | llama-perplexity |",
        "|---|---|---:|---:|",
        *(
            f"| {row['precision']} | {label} | {told(row['ours'][name])} | {told(row['theirs'][name])} |"
            for row in rows
            for name, label, told in _FIGURES
        ),
        "",
        "What differs: `llama-perplexity` keeps the reference's log-probabilities in 16 bits, in steps of at most "
        "16 / 65,535 down to 16 below the likeliest, and leaves out tokens that have less than exp(-16) of the "
        "probability; quantlab keeps them in float32 and leaves out nothing. So its perplexity of the reference, which "
        "it takes from that file, and its KLD differ by some parts in a thousand. Perplexity of a file itself comes "
        "from its logits on both sides. Its errors (±) take tokens as independent, those of quantlab windows, and are "
        "not compared.",
    ]


def _cache(part: Mapping) -> str:
    return "float32" if part["compute_dtype"] == "float32" else "float16"


def _off(row: Mapping, name: str) -> float:
    """How far ours is from theirs, as a share of theirs."""
    return row["ours"][name] / row["theirs"][name] - 1


def _means(row: Mapping) -> str:
    ours, theirs = row["ours"], row["theirs"]
    return (
        f"| {row['precision']} | {ours['kld']:.6f} | {theirs['kld']:.6f} | {_off(row, 'kld'):+.2%} "
        f"| {ours['ppl']:.4f} | {theirs['ppl']:.4f} | {_off(row, 'ppl'):+.3%} |"
    )


def _speed(part: Mapping) -> list[str]:
    rows = part["rows"]
    slow = [row["precision"] for row in rows if row["what"] == "decode" and row["ratio"] < FAST]
    loads = [row["load"] for row in rows]
    return [
        _about(part),
        "",
        f"In turn, medians of {part['repeats']}, the same threads, cache type and attention. The ratio is "
        "llama-bench's time over quantlab's: above 1, quantlab is faster. Quartiles of neighbouring runs in brackets. "
        f"The machine's load was {min(loads):.1f} to {max(loads):.1f}"
        + (": others computed too." if max(loads) > part["machine"]["cores"] + 1 else "."),
        "",
        (
            f"Decoding is slower than {FAST} of llama-bench: {', '.join(slow)}."
            if slow
            else f"Decoding is at least {FAST} of llama-bench everywhere."
        ),
        "",
        "| file | what | tokens | quantlab, tokens/s | llama-bench, tokens/s | ratio |",
        "|---|---|---:|---:|---:|---:|",
        *(
            f"| {row['precision']} | {row['what']} | {row['tokens']} | {row['tokens'] / row['ours_s']:.1f} "
            f"| {row['tokens'] / row['other_s']:.1f} "
            f"| {row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}] |"
            for row in rows
        ),
        "",
        "What differs: `llama-bench` decodes tokens that it draws at random and looks at no logits. quantlab copies "
        "them, takes the likeliest token and keeps the time of each; that is in its time. Both have one token in the "
        "cache before the first that is timed. The prefill of quantlab is in a context of its own, made before the "
        "clock starts, whose memory it touches for the first time; `llama-bench` has warmed its context up.",
    ]
