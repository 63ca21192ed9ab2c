"""Speed of reading a text, divergence included, beside what one would write by hand; and the memory it takes."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from quantlab import models
from quantlab.checkpoints.load import GGUF_NAME, checkpoint_store, load_variant
from quantlab.fidelity.reading import read_reference, read_variant
from quantlab.fidelity.reference import ScoreStore
from quantlab.fidelity.windows import WINDOW, Windows, windows
from quantlab.measure.memory import PeakMemory
from quantlab.methods import precision, variant_of
from quantlab.records import Calibration, Placement, ResolvedPlacement, silent
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import Facts
from quantlab.runtime.torch_session import TorchModel, release_memory, synchronize
from quantlab.settings import app_settings
from tests.bench.turns import in_turn

Work = Callable[[], object]
PRECISIONS = ("fp32", "bf16", "nf4", "q8_0", "q4_k_m")
WINDOWS = 2
#: A vocabulary of today's size, on a network that is next to nothing.
WIDE = 128_256


@dataclass(frozen=True)
class Row:
    """Medians of seconds to read the same windows; `ratio` is the other's over ours, above 1 is faster.

    `beside` says what the other one is. `tokens_per_s` counts all tokens that are read.
    """

    model: str
    precision: str
    beside: str
    tokens_per_s: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Memory:
    """Growth of the resident set in bytes while a reference was read and a variant beside it.

    `table_bytes` is one float32 table of a window's scored tokens over the whole vocabulary.
    """

    vocabulary: int
    table_bytes: int
    reference_bytes: int
    variant_bytes: int


def measure(name: str, device: str, repeats: int) -> list[Row]:
    """One row for each of `PRECISIONS` that runs on the device, beside the rows of the model's own fp32."""
    model, placement = models.resolve(name, app_settings()), resolve(Placement(device))
    vocabulary = models.config(model)["vocab_size"]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, vocabulary, (WINDOWS * WINDOW,), generator=generator).tolist()
    read = windows(ids, None, WINDOW)
    found = []
    with TemporaryDirectory(prefix="quantlab-bench-") as folder:
        store = ScoreStore(Path(folder), 10**11)
        for chosen in map(precision, PRECISIONS):
            variant = variant_of(model, chosen, placement, Calibration())
            loaded = load_variant(variant, silent).loaded
            rows = store.find("reference") or read_reference(loaded, read, store, "reference", silent)[0]
            reference = rows.block(0, read.scored).to(placement.device)
            if loaded.network is not None:
                beside, other = "a loop over transformers", _plain(loaded.network, read, reference, device)
            else:
                file = checkpoint_store().get(variant, silent).folder / GGUF_NAME
                beside, other = "llama_decode, nothing computed", _bare(file, read, placement)
            ours = partial(read_variant, loaded, read, rows, silent)
            found.append(_row(name, chosen.name, beside, ours, other, repeats, device))
            loaded.close()
            print(f"scoring {name} {chosen.name}: {found[-1].ratio:.3f}", file=sys.stderr, flush=True)
    return found


def _row(name: str, chosen: str, beside: str, ours: Work, other: Work, repeats: int, device: str) -> Row:
    ours(), other()  # the warm-up of both
    turns = in_turn(lambda: _seconds(ours, device), lambda: _seconds(other, device), repeats)
    speed = WINDOWS * WINDOW / turns.ours_s
    return Row(name, chosen, beside, speed, turns.ratio, turns.ratio_low, turns.ratio_high)


def _seconds(work: Work, device: str) -> float:
    synchronize(device)
    begun = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begun


def _plain(network: torch.nn.Module, read: Windows, reference: torch.Tensor, device: str) -> Work:
    """Whole windows in one pass each, log-softmax, divergence both ways and likelihood of the second half."""
    kl_div = torch.nn.functional.kl_div

    @torch.no_grad()
    def work() -> None:
        for number, window in enumerate(read.ids):
            ids = torch.tensor([window], device=device)
            q = network(input_ids=ids, use_cache=False).logits[0, read.first - 1 : -1].float().log_softmax(-1)
            p = reference[number * len(q) : (number + 1) * len(q)]
            kl_div(q, p, log_target=True, reduction="none").sum(-1).tolist()
            kl_div(p, q, log_target=True, reduction="none").sum(-1).tolist()
            (q.argmax(-1) == p.argmax(-1)).tolist()
            q.gather(-1, ids[0, read.first :].unsqueeze(-1)).tolist()

    return work


def _bare(file: Path, read: Windows, placement: ResolvedPlacement) -> Work:
    """llama.cpp reads each window in one batch and gives the logits of every token; nothing is done with them."""
    from quantlab.methods.gguf import library

    llama = library.lib()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0 if placement.device == "cpu" else -1
    model = llama.llama_model_load_from_file(str(file).encode(), params)
    context = llama.llama_context_default_params()
    context.n_ctx = context.n_batch = context.n_ubatch = WINDOW
    context.n_threads = context.n_threads_batch = torch.get_num_threads()
    kind = llama.GGML_TYPE_F32 if placement.compute_dtype == "float32" else llama.GGML_TYPE_F16
    context.type_k = context.type_v = kind
    context.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    made = llama.llama_init_from_model(model, context)
    batches = []
    for window in read.ids:
        batch = llama.llama_batch_init(WINDOW, 0, 1)
        batch.n_tokens = WINDOW
        for at, token in enumerate(window):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0] = token, at, 1, 0
            batch.logits[at] = 1
        batches.append(batch)

    def work() -> None:
        for batch in batches:
            llama.llama_memory_clear(llama.llama_get_memory(made), True)
            if llama.llama_decode(made, batch):
                raise RuntimeError("llama_decode failed")
            llama.llama_get_logits(made)

    return work


def memory(device: str) -> Memory:
    """Read one text twice with a network whose vocabulary is all that is large in it."""
    import transformers

    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    config = transformers.LlamaConfig(vocab_size=WIDE, max_position_embeddings=4 * WINDOW, **sizes)
    network = transformers.LlamaForCausalLM(config).to(device, torch.bfloat16).eval()
    loaded = TorchModel(network, device, Facts("bfloat16", "torch", {"": device}))
    read = windows(list(range(4 * WINDOW)), None, WINDOW)
    grown = []
    with TemporaryDirectory(prefix="quantlab-bench-") as folder:
        store = ScoreStore(Path(folder), 10**11)
        for work in (
            lambda: read_reference(loaded, read, store, "reference", silent),
            lambda: read_variant(loaded, read, store.find("reference"), silent),
        ):
            release_memory()
            with PeakMemory(device, 0) as peak:
                work()
                grown.append(peak.result().bytes)
    return Memory(WIDE, 4 * WIDE * read.scored_each, *grown)
