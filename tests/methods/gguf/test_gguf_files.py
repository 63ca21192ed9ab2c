"""Built files: what they hold, what they take, what is said of them; and files that are damaged."""

import math
from pathlib import Path

import gguf
import pytest
from gguf.constants import GGML_QUANT_SIZES

from quantlab import models
from quantlab.errors import Stopped
from quantlab.methods.gguf import GGUF, NAME, load_file, read_header
from quantlab.methods.gguf import storage as contents
from quantlab.methods.gguf.types import FILE_TYPES, TYPES
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import PARTS, Calibration, Model, ResolvedPlacement, Variant, silent
from quantlab.runtime import worker
from quantlab.settings import AppSettings
from tests.methods.gguf import making

CPU = ResolvedPlacement("cpu", "float32")
DEMO = Model("demo", "demo", DEMO_FOLDER)
#: From the most to the least bits, importance matrices apart.
LADDER = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m", "q2_k")
TEXT = Calibration(samples=4, length=128)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The demo at every precision."""
    return {
        chosen.name: making.built(
            Variant(DEMO, chosen, CPU, TEXT if GGUF.calibrated(chosen) else None), tmp_path_factory.mktemp(chosen.name)
        )
        for chosen in GGUF.precisions
    }


def loaded(file: Path):
    return load_file(file, DEMO, CPU, silent)


def test_the_table_of_types_is_that_of_the_gguf_package():
    ours = {it.name: (it.block, it.nbytes) for it in TYPES.values()}
    theirs = {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    assert ours == {name: theirs[name] for name in ours} and len(ours) > 30
    for kind in TYPES.values():
        assert (0 < kind.overhead < kind.nbytes / 2) == kind.quantized
    for number, name in FILE_TYPES.items():
        named = gguf.LlamaFileType(number).name.split("_", 1)[1]
        assert named in (name, f"{name}_MOE"), "general.file_type"


@pytest.mark.slow
def test_stored_bytes_are_those_of_the_files_tensors_part_by_part(files):
    for name, file in files.items():
        reader = gguf.GGUFReader(file)
        model = loaded(file)
        storage = model.storage()
        assert storage.total == model.stored_bytes() == sum(tensor.n_bytes for tensor in reader.tensors)
        assert storage.total == sum(storage.parts.values()) and set(storage.parts) == set(PARTS)
        start = min(tensor.data_offset for tensor in reader.tensors)
        assert 0 <= file.stat().st_size - start - storage.total < 32 * len(reader.tensors), "nothing but padding"
        assert storage.weights == sum(math.prod(it.shape) for it in models.tensors(DEMO).values())
        assert storage.parts["output_head"] == 0, "its embeddings are tied"
        assert (storage.quantized_weights == 0) == (name == "f16") == (storage.parts["quantization"] == 0)
        model.close()


@pytest.mark.slow
def test_what_a_kernel_arranged_anew_is_no_longer_mapped(files):
    for name, file in files.items():
        model = loaded(file)
        storage = model.storage()
        model.close()
        assert 0 < storage.mapped <= storage.total
        assert name != "f16" or storage.mapped == storage.total
    header = read_header(files["q4_0"])
    moved = ("blk.0.attn_q.weight", "blk.1.ffn_up.weight")
    # Embeddings keep their place even where they serve, arranged anew, as the output head too.
    stored = contents.storage(header, {*moved, "token_embd.weight"})
    assert stored.total - stored.mapped == sum(header.nbytes[name] for name in moved)


@pytest.mark.slow
def test_fewer_bits_take_fewer_bytes(files):
    sizes = [read_header(files[name]).nbytes for name in LADDER]
    totals = [sum(it.values()) for it in sizes]
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == len(totals)
    bits = [chosen.bits for chosen in GGUF.precisions if chosen.name in LADDER]
    assert bits == sorted(bits, reverse=True)


@pytest.mark.slow
def test_the_estimate_is_what_the_file_takes(files):
    checkpoint = models.checkpoint(DEMO)
    for chosen in GGUF.precisions:
        header = read_header(files[chosen.name])
        assert GGUF.estimate(chosen, CPU, checkpoint) == sum(header.nbytes.values())


@pytest.mark.slow
def test_rows_that_are_no_multiple_of_256_fall_back_and_it_is_said(tmp_path):
    settings = making.config("Llama", hidden_size=96, intermediate_size=160, tie_word_embeddings=False)
    model = making.write(tmp_path / "narrow", settings, making.gpt2())
    (tmp_path / "out").mkdir()
    file = making.built(Variant(model, GGUF.parse("q4_k_m"), CPU), tmp_path / "out")
    narrow = loaded(file)
    notes = narrow.facts.notes
    narrow.close()
    assert notes and "16 of 16 matrices" in notes[0] and "Q4_K_M" in notes[0] and "Q5_0" in notes[0]
    kinds = {info.dtype for info in read_header(file).tensors.values()}
    assert kinds == {"F32", "Q5_0", "Q8_0"}


@pytest.mark.slow
def test_what_is_stored_is_said(files):
    model = loaded(files["q4_k_m"])
    details = model.facts.details
    assert details["file"] == NAME and details["file type"] == "Q4_K_M"
    assert details["tensor types"] == "Q4_K 19, F32 7, Q6_K 3"
    assert model.facts.kernel.startswith("llama.cpp (CPU") and "8-bit" in model.facts.compute_dtype
    assert model.facts.notes == ()
    model.close()
    smallest = loaded(files["iq2_xxs"])
    assert "entries_count 21" in smallest.facts.details["importance matrix"]
    assert "bundled text" in smallest.facts.details["importance matrix"]
    smallest.close()


@pytest.mark.slow
def test_only_the_result_is_left_and_progress_goes_up_to_the_end(files, tmp_path):
    assert [file.name for file in files["q8_0"].parent.iterdir()] == [NAME]
    told = []
    GGUF.build(Variant(DEMO, GGUF.parse("q4_0"), CPU), tmp_path, lambda *step: told.append(step))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (1_000, 1_000)
    seen = " ".join(what for _, _, what in told)
    assert "export: blk.2.ffn_down.weight" in seen and "check" in seen and "quantize: blk.1.attn_q.weight" in seen


@pytest.mark.slow
def test_a_stop_ends_the_build(tmp_path):
    def stop(done: int, _total: int, _what: str) -> None:
        if done > 150:
            raise Stopped

    with pytest.raises(Stopped):
        GGUF.build(Variant(DEMO, GGUF.parse("q4_0"), CPU), tmp_path, stop)
    assert not (tmp_path / NAME).exists()


@pytest.mark.slow
def test_a_crash_of_the_worker_is_a_defect_that_takes_nothing_with_it(tmp_path):
    with pytest.raises(RuntimeError, match="ended with -6"):
        worker.run("tests.methods.gguf.test_gguf_files:abort", {}, silent)


def abort(_progress) -> None:
    """llama.cpp's own way to end a process."""
    import os

    os.abort()


@pytest.mark.slow
def test_a_shape_is_built_of_its_random_weights(tmp_path):
    shape = models.resolve("shape:bench-100m", AppSettings())
    header = read_header(making.built(Variant(shape, GGUF.parse("q4_0"), CPU), tmp_path))
    assert sum(header.nbytes.values()) == GGUF.estimate(GGUF.parse("q4_0"), CPU, models.checkpoint(shape))
