"""Fidelity figures by a plain script: transformers or llama-cpp-python, numpy in float64, nothing of the product's."""

import numpy as np
import torch

WINDOW, FIRST = 512, 257


def windows(ids: list[int], bos: int | None, count: int) -> list[list[int]]:
    cut = [ids[at : at + WINDOW] for at in range(0, len(ids) - WINDOW + 1, WINDOW)][:count]
    return [([bos] if bos is not None else [window[0]]) + window[1:] for window in cut]


def network_logits(network: torch.nn.Module, read: list[list[int]]) -> np.ndarray:
    """`[scored tokens, vocabulary]` of whole windows in one pass each, without a cache."""
    rows = []
    for window in read:
        with torch.no_grad():
            logits = network(input_ids=torch.tensor([window[:-1]]), use_cache=False).logits[0]
        rows.append(logits[FIRST - 1 :].float().numpy().astype(np.float64))
    return np.concatenate(rows)


def llama_logits(file: str, read: list[list[int]]) -> np.ndarray:
    """The same from llama-cpp-python, which keeps the scores of every position with `logits_all`."""
    import llama_cpp

    model = llama_cpp.Llama(
        file,
        n_ctx=WINDOW,
        logits_all=True,
        verbose=False,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
    )
    rows = []
    for window in read:
        model.reset()
        model.eval(window)
        rows.append(np.array(model.scores[FIRST - 1 : WINDOW - 1], dtype=np.float64))
    model.close()
    return np.concatenate(rows)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def standard_error(values: np.ndarray, of_window: np.ndarray) -> float:
    """By windows of one size: the scatter of their means, over the root of their number."""
    means = np.array([values[of_window == window].mean() for window in np.unique(of_window)])
    return means.std(ddof=1) / len(means) ** 0.5


def figures(ours: np.ndarray, reference: np.ndarray, read: list[list[int]]) -> dict[str, float]:
    """Every figure from the logits of both."""
    q, p = log_softmax(ours), log_softmax(reference)
    follows = np.array([token for window in read for token in window[FIRST:]])
    at = np.arange(len(follows))
    kld, reverse = (np.exp(p) * (p - q)).sum(-1), (np.exp(q) * (q - p)).sum(-1)
    nll, reference_nll = -q[at, follows], -p[at, follows]
    moved = 100 * (np.exp(-nll) - np.exp(-reference_nll))
    of_window = np.repeat(np.arange(len(read)), len(follows) // len(read))
    ratio = np.exp(np.mean(nll - reference_nll))
    return {
        "kld": kld.mean(), "kld_se": standard_error(kld, of_window), "kld_reverse": reverse.mean(),
        **{f"kld_{share}": np.quantile(kld, share) for share in (0.5, 0.9, 0.99, 0.999, 1.0)},
        "same_top": np.mean(q.argmax(-1) == p.argmax(-1)), "delta_p_mean": moved.mean(),
        "delta_p_rms": np.sqrt(np.mean(moved**2)), "ppl": np.exp(nll.mean()),
        "ppl_se": np.exp(nll.mean()) * standard_error(nll, of_window), "ratio": ratio,
        "ratio_se": ratio * standard_error(nll - reference_nll, of_window),
    }  # fmt: skip
