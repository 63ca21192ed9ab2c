"""Values as code writes them, and the command that makes a checkpoint: for recipes and for scripts."""

from quantlab.errors import QuantlabError
from quantlab.export import codec
from quantlab.methods import adapters
from quantlab.records import Calibration, Placement


def quoted(text: str) -> str:
    """The text as Python writes it, what cannot be printed escaped; in the quotes that are usual in code."""
    told = repr(text)
    return told if '"' in told else f'"{told[1:-1]}"'


def compute_dtype(placement: Placement) -> str:
    """torch's name of the type in which what is not quantized computes."""
    return placement.compute_dtype or "bfloat16"


def device_map(placement: Placement) -> str:
    """What `from_pretrained` takes as `device_map`, as code."""
    if placement.device_map is None:
        return quoted(placement.device)
    if isinstance(placement.device_map, str):
        return quoted(placement.device_map)
    return repr(dict(placement.device_map))


def quantize_words(
    typed: str, precision: str, out: str, placement: Placement, read: Calibration, private: bool = False
) -> list[str]:
    """The arguments of `quantlab quantize`, with the place and the calibration text that were measured.

    `typed` is the model as quantlab is told it; `private` keeps from it where a file lies.
    """
    words = ["--model", typed, "--precision", precision, "--out", out, "--device", placement.device]
    words += ["--compute-dtype", compute_dtype(placement)]
    if read.file is not None:
        words += ["--calibration", codec.last_name(str(read.file)) if private else str(read.file)]
    if read.samples != Calibration.samples:
        words += ["--calibration-samples", str(read.samples)]
    if read.length != Calibration.length:
        words += ["--calibration-length", str(read.length)]
    return words


ADAPTER_IMPORT = "from peft import PeftModel"


def with_adapter(typed: str, private: bool = False) -> str:
    """The line that lays an adapter, by its name or folder, beside the weights of `model`."""
    try:
        folder = f"./{adapters.label(typed)}" if private else str(adapters.found(typed).folder)
    except QuantlabError:  # it lies elsewhere by now
        folder = f"./{adapters.label(typed)}"
    return f"model = PeftModel.from_pretrained(model, {quoted(folder)})"
