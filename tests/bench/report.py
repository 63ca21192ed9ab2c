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
    lines += ["", "## Quantized once", "", *_kept(result["kept"])]
    lines += ["", "## Waiting", "", f"- A cached variant is leased in {result['cached_lease_s'] * 1e3:.3f} ms."]
    if startup := result["startup_s"]:
        lines.append(
            f"- `python app.py` answers after {startup['app']:.2f} s, an empty gradio page after "
            f"{startup['empty_page']:.2f} s: {startup['later']:+.2f} s."
        )
    return "\n".join(lines) + "\n"


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
