"""Loading checkpoints that are quantized already, by what their config.json says of it."""

import logging
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from quantlab import models
from quantlab.errors import BadInput, ModelError, Unavailable, unknown
from quantlab.methods import transformers_loading as loading
from quantlab.methods.base import missing_package
from quantlab.methods.bitsandbytes import suit_the_kernel
from quantlab.methods.gptq.checking import check_published
from quantlab.methods.quantized_facts import details, what_runs
from quantlab.models.folder import DTYPE_BITS
from quantlab.models.layouts import named_by, quantization
from quantlab.models.quiet import NO_BARS, NO_OUTPUT, NO_WARNINGS, hush
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, Progress, ResolvedPlacement
from quantlab.runtime.session import Storage
from quantlab.runtime.storage import FromFiles, bytes_of, from_files
from quantlab.runtime.torch_session import TorchModel, TorchSession

if TYPE_CHECKING:
    from gptqmodel.quantization import FORMAT, METHOD
    from transformers.utils.quantization_config import QuantizationConfigMixin

#: What gptqmodel runs, and the name that says it chooses the kernel itself.
_GPTQMODEL, _AUTO = ("gptq", "awq"), "auto"
#: Methods whose weights are unpacked, by the library itself, where it has no kernel for them.
_UNPACKED = ("compressed-tensors", "fp8")
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class QuantizedModel(TorchModel):
    """A checkpoint that was quantized already.

    `storage` tells until the first session what its files hold, where a kernel has repacked it during the load; then,
    as for every model, what is in memory. `tokenizer_of` has a tokenizer of its own.
    """

    _from_files: Storage | None = None
    _tokenizer_of: Model | None = None

    @classmethod
    def of(cls, loaded: TorchModel, from_files: Storage | None, tokenizer_of: Model | None) -> "QuantizedModel":
        """The same model, of this class."""
        self = cls.__new__(cls)
        vars(self).update(vars(loaded))
        self._from_files, self._tokenizer_of = from_files, tokenizer_of
        return self

    def start(self, capacity: int | None = None, kv_cache: str | None = None) -> TorchSession:
        self._from_files = None
        return super().start(capacity, kv_cache)

    def storage(self) -> Storage:
        return super().storage() if self._model is None or self._from_files is None else self._from_files

    def tokenize(self, text: str) -> tuple[int, ...] | None:
        if self._tokenizer_of is None:
            return None
        return tuple(load_tokenizer(self._tokenizer_of).encode(text, add_special_tokens=False))


def prepare() -> None:
    """Import what loading takes: transformers, and gptqmodel where it is installed."""
    hush()  # gptqmodel imports it too
    loading.prepare()
    if not missing_package("gptqmodel"):
        _import_gptqmodel()


def load_quantized(
    model: Model, placement: ResolvedPlacement, progress: Progress, own_tokenizer: bool = False
) -> QuantizedModel:
    """Load a folder whose config.json has a quantization_config.

    `placement.kernel` names a kernel of gptqmodel ("gptq_marlin", or "marlin") for GPTQ and AWQ. The model tokenizes
    by itself if `own_tokenizer`. Raises BadInput for an unknown kernel, Unavailable where a package or a kernel is
    missing here, ModelError, OutOfMemory or Stopped (from `progress`).
    """
    config = models.config(model)
    method = named_by(config)
    if method is None:
        raise ModelError(
            f"The weights of {model.name} are quantized, but neither config.json nor a file beside it says how.",
            "Get the quantization_config (older programs: quantize_config.json) from where it was published.",
        )
    settings = quantization(config)
    tensors = models.tensors(model)
    if method == "gptq" and model.folder is not None:
        check_published(model.folder, tensors, settings, model.name)
    hush()
    with _silence(method):
        chosen = _with_kernel(settings, method, placement)
        try:
            network = loading.load(model, placement, placement.compute_dtype, progress, chosen)
        except ImportError as error:
            raise Unavailable(f"{model.name} needs a package that is missing: {_first_line(error)}.") from error
        found = from_files(network, tensors, DTYPE_BITS)
        _compute_in(network, found.quantized, getattr(torch, placement.compute_dtype))
        if placement.device == "cpu":
            _run_eagerly(network)
            if method == "bitsandbytes":
                suit_the_kernel(network)
        # The first product would do it, and would be slow, loud and counted as a token's time.
        if hasattr(network, "ct_decompress_hook"):
            network.hf_quantizer.compressor.decompress_model(network)
            # What comes out has the type of its scales, which need not be the one asked for.
            _compute_in(network, frozenset(), getattr(torch, placement.compute_dtype))
            found = replace(found, repacked=True)
    dtype, kernel = what_runs(network, found.quantized, method, settings, placement)
    loaded = loading.finish(network, placement, dtype, kernel, _notes(network, found, method, settings))
    loaded.facts = replace(loaded.facts, details=details(method, settings, tensors, model.revision))
    return QuantizedModel.of(loaded, found.storage if found.repacked else None, model if own_tokenizer else None)


def _compute_in(network: torch.nn.Module, quantized: Set[str], dtype: torch.dtype) -> None:
    """Give the parts that are not quantized the type asked for, where the quantizer's loader left them as they were.

    A tensor made of others (torchao) says in which type it is multiplied; only that is changed.
    """
    for name, module in network.named_modules():
        for key, parameter in module._parameters.items():
            if hasattr(type(parameter), "__tensor_flatten__"):
                inner, settings = parameter.__tensor_flatten__()
                if settings.get("dtype", dtype) != dtype:
                    held = {each: getattr(parameter, each) for each in inner}
                    changed = type(parameter).__tensor_unflatten__(held, settings | {"dtype": dtype}, None, None)
                    setattr(module, key, torch.nn.Parameter(changed, requires_grad=False))
            elif name not in quantized and parameter is not None and parameter.dtype in _FLOATS:
                parameter.data = parameter.data.to(dtype)


def _run_eagerly(network: torch.nn.Module) -> None:
    """Take back that gptqmodel has torch compile the unpacking of weights in its fallback kernel.

    On a CPU it takes half a minute and a C++ compiler, and what comes out is slower (0.06 s a token instead of 0.03 for
    5 million weights).
    """
    for module in network.modules():
        vars(module).pop("dequantize_weight", None)


def _with_kernel(
    settings: Mapping[str, Any], method: str, placement: ResolvedPlacement
) -> "QuantizationConfigMixin | None":
    """The configuration that makes transformers choose the kernel asked for; None for its own choice."""
    if method not in _GPTQMODEL:
        if placement.kernel is not None:
            raise BadInput(
                f"Weights stored by {method} have no kernels to choose from.",
                "Leave the kernel out; it is chosen where weights are stored by GPTQ or AWQ.",
            )
        return None
    packages = [name for name in ("gptqmodel", "optimum") if missing_package(name)]
    if packages:
        raise Unavailable(
            f"Weights stored by {method.upper()} need {' and '.join(packages)}.",
            "pip install -r requirements-gptq.txt",
        )
    _import_gptqmodel()
    from gptqmodel.quantization import FORMAT, METHOD
    from transformers import AwqConfig, GPTQConfig
    from transformers.quantizers.auto import AutoQuantizationConfig

    stored = AutoQuantizationConfig.from_dict(dict(settings))
    kernel = _kernel_name(
        placement.kernel or _AUTO, METHOD(method), FORMAT(getattr(stored.format, "value", stored.format))
    )
    _can_run(kernel, stored, METHOD(method), placement)
    if placement.kernel is None:
        return None
    chosen = (AwqConfig if method == "awq" else GPTQConfig)(bits=stored.bits)
    chosen.backend = kernel  # not by the constructor, which knows only some of the names
    return chosen


def _kernel_name(typed: str, method: "METHOD", stored_format: "FORMAT") -> str:
    """gptqmodel's name of a kernel. Raises BadInput with those that take weights stored in this way."""
    from gptqmodel.utils.backend import normalize_backend
    from gptqmodel.utils.importer import BACKEND_TO_METHOD_FORMAT_MAPPING

    if typed == _AUTO:
        return typed
    valid = [backend.value for backend in BACKEND_TO_METHOD_FORMAT_MAPPING[method].get(stored_format, ())]
    try:
        found = normalize_backend(typed, quant_method=method).value
    except ValueError:
        found = typed
    if found not in valid:
        raise unknown(f"kernel for {method.value.upper()}", typed, sorted(valid))
    return found


def _can_run(kernel: str, stored: "QuantizationConfigMixin", method: "METHOD", placement: ResolvedPlacement) -> None:
    """Raises Unavailable where no kernel, or not the one asked for, takes these weights on this device."""
    from gptqmodel.utils.importer import hf_select_quant_linear_v2

    try:
        hf_select_quant_linear_v2(
            bits=stored.bits,
            group_size=stored.group_size,
            desc_act=bool(stored.desc_act),
            sym=bool(stored.sym),
            format=stored.format,
            quant_method=method,
            zero_point=getattr(stored, "zero_point", None),
            pack=False,
            device_map={"": placement.device},
            backend=kernel,
        )
    except (ValueError, ImportError, NotImplementedError, RuntimeError) as error:
        what = f"{stored.bits}-bit {method.value.upper()} weights in groups of {stored.group_size}"
        which = "No kernel takes" if kernel == _AUTO else f"The kernel {kernel} does not take"
        raise Unavailable(
            f"{which} {what} here: {_first_line(error)}.",
            "Leave the kernel out, or choose another precision or device.",
        ) from error


def _notes(network: torch.nn.Module, found: FromFiles, method: str, settings: Mapping[str, Any]) -> Iterator[str]:
    if found.repacked:
        what = "unpacks the weights" if method in _UNPACKED else "lays the weights out anew for its kernel"
        files, memory = found.storage.quantized_bytes, bytes_of(network, found.quantized)
        yield f"{method} {what} as they load: {files:,} bytes of the files became {memory:,}"
    if scheme := settings.get("kv_cache_scheme"):
        bits = scheme.get("num_bits") if isinstance(scheme, Mapping) else None
        kept = f"in {bits} bits" if bits else "quantized"
        yield f"its publisher meant keys and values to be kept {kept}; here they are kept in the compute type"


@contextmanager
def _silence(method: str) -> Iterator[None]:
    """Keep banners, bars and warnings of the libraries that a stored method needs from the terminal."""
    if method == "compressed-tensors" and not missing_package("loguru"):
        from loguru import logger

        logger.disable("compressed_tensors")
    with NO_BARS, NO_WARNINGS:
        yield


def _import_gptqmodel() -> None:
    """Import it without its banner. Its pool has to hold two workers also on one core."""
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, os.cpu_count() or 1)))
    # Its logger greets the terminal with an empty line when it is made.
    with NO_OUTPUT, NO_WARNINGS:
        from logbar import LogBar

        LogBar.shared().setLevel(logging.CRITICAL)
        import gptqmodel  # noqa: F401 - what its import registers is used by transformers and optimum


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
