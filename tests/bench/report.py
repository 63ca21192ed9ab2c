"""The benchmark as a page of the documentation."""

from collections.abc import Mapping


def markdown(result: Mapping) -> str:
    """Markdown of one result, as `__main__` writes it."""
    machine, versions = result["machine"], result["versions"]
    lines = [
        f"# Benchmark on {machine['device']}",
        "",
        f"{result['date']}, {machine['cores']} cores, {machine['system']}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ". Made by `make bench`.",
        "",
        "## Decode speed beside the library's own loop",
        "",
        "transformers' `generate`, and for GGUF `Llama.generate` of llama-cpp-python: the same weights, the same "
        f"prompt, {result['new_tokens']} new tokens, in turn, medians of {result['repeats']}. The ratio is the other "
        "loop's time over ours: above 1, ours is faster. Quartiles in brackets.",
        "",
        "| model | precision | ours, tokens/s | ratio | same tokens |",
        "|---|---|---:|---:|---|",
    ]
    lines += [_row(row) for row in result["decode"]]
    lines += ["", "## Reading a text", "", *_scoring(result["scoring"], result["scoring_memory"])]
    lines += ["", "## Quantized once", "", *_kept(result["kept"])]
    lines += ["", "## Waiting", "", f"- A cached variant is leased in {result['cached_lease_s'] * 1e3:.3f} ms."]
    startup = result["startup_s"]
    lines.append(
        f"- `python app.py` answers after {startup['app']:.2f} s, an empty gradio page after "
        f"{startup['empty_page']:.2f} s: {startup['later']:+.2f} s."
    )
    return "\n".join(lines) + "\n"


def _scoring(rows: list[Mapping], memory: Mapping) -> list[str]:
    table, reference, variant = (memory[f"{name}_bytes"] / 1e6 for name in ("table", "reference", "variant"))
    return [
        "Two windows of 512 tokens, with divergence both ways, likelihood and agreement at the second half of each, "
        "beside a plain loop over transformers that computes the same from whole windows, and for GGUF beside bare "
        "`llama_decode` with the logits of every token, of which nothing is computed. The ratio is the other one's "
        "time over ours.",
        "",
        "| model | precision | beside | ours, tokens/s | ratio |",
        "|---|---|---|---:|---:|",
        *(
            f"| {row['model']} | {row['precision']} | {row['beside']} | {row['tokens_per_s']:.0f} "
            f"| {row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}] |"
            for row in rows
        ),
        "",
        f"With a vocabulary of {memory['vocabulary']:,} one float32 table of a window's scored tokens takes "
        f"{table:.0f} MB. Reading a text of four windows as the reference took at most {reference:.0f} MB more memory "
        f"than before, and a variant beside it {variant:.0f} MB.",
    ]


def _kept(rows: list[Mapping]) -> list[str]:
    return [
        "Asking for a variant whose checkpoint is not on disk yet, and asking again when it is: the whole wait, once "
        "and the median of the others.",
        "",
        "| model | precision | built | from disk | ratio |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {row['model']} | {row['precision']} | {row['built_s']:.1f} s | {row['disk_s']:.2f} s "
            f"| {row['built_s'] / row['disk_s']:.1f} |"
            for row in rows
        ),
    ]


def _row(row: Mapping) -> str:
    ratio = f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
    same = "yes" if row["same_tokens"] else "no"
    return f"| {row['model']} | {row['precision']} | {row['tokens_per_s']:.1f} | {ratio} | {same} |"
