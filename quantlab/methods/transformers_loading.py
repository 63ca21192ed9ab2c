"""The loader that all methods over transformers share: `from_pretrained`, watched tensor by tensor."""

import os
import threading
import traceback
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quantlab import models
from quantlab.errors import ModelError, OutOfMemory, QuantlabError, Stopped
from quantlab.methods import skeleton as skeletons
from quantlab.models.architecture import context_length
from quantlab.models.configuration import cause, configuration
from quantlab.models.quiet import import_transformers, watching
from quantlab.records import Model, Progress, ResolvedPlacement
from quantlab.runtime.disk import NO_ROOM, disk_errno, disk_error
from quantlab.runtime.offload import OffloadFolder
from quantlab.runtime.placement import canonical
from quantlab.runtime.session import Facts
from quantlab.runtime.storage import every_tensor
from quantlab.runtime.torch_session import TorchModel, is_out_of_memory, release_memory

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

#: The switch for transformers' reader threads is one per process, so one model loads at a time.
_LOADING = threading.Lock()
_PACKAGE = Path(__file__).resolve().parents[1]
_NO_READER_THREADS = "HF_DEACTIVATE_ASYNC_LOAD"


@contextmanager
def _in_turn(placement: ResolvedPlacement) -> Iterator[None]:
    """Read tensors one after the other on a CPU, by transformers' own switch.

    Its reader threads allocate in arenas of their own, so that resident memory wanders by some percent from load to
    load, and they go on for a moment after a stop. A GPU is filled faster with them.
    """
    before = os.environ.get(_NO_READER_THREADS)
    if placement.device == "cpu":
        os.environ[_NO_READER_THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_NO_READER_THREADS, None)
        else:
            os.environ[_NO_READER_THREADS] = before


def prepare() -> None:
    """Import the parts of transformers that it would otherwise import at the first load."""
    import accelerate  # noqa: F401 - imported ahead of time

    import_transformers()


def skeleton(model: Model) -> torch.nn.Module:
    """The model on the `meta` device: its modules and shapes, no weights."""
    return skeletons.network(models.config(model), model.name)


def _class_for(config: "PreTrainedConfig", quantization_config: object | None, model: Model) -> Any:
    """The class to load with. Where weights are to be quantized, one whose linear layers are all torch's own.

    Quantizers replace that class alone, so that of Falcon, which brings one of its own, nothing would be quantized.
    Nor do they hold the weights of the files against the sizes of the layers, as transformers does without them.
    """
    made = skeletons.class_for(config)
    if quantization_config is None:
        return made
    files = None if model.folder is None else models.checkpoint(model)
    tensors = files.tensors if files is not None and files.stored_as is None else {}

    def __init__(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        made.__init__(self, *args, **kwargs)
        for name, parameter in self.named_parameters():
            if name in tensors and tensors[name].shape != tuple(parameter.shape):
                raise _other_sizes(model, f": {name} is {tensors[name].shape} and not {tuple(parameter.shape)}")
        skeletons.as_plain_linear(self)

    # Under the same name: transformers looks conversions of weights up by it.
    return type(made.__name__, (made,), {"__init__": __init__, "__module__": made.__module__})


def load(
    model: Model,
    placement: ResolvedPlacement,
    dtype: str,
    progress: Progress,
    quantization_config: object | None = None,
) -> torch.nn.Module:
    """Load with transformers, in evaluation mode, to where `placement` says. Shapes are filled one tensor at a time.

    Raises ModelError where the files do not fit the architecture, OutOfMemory, or Stopped.
    """
    config = configuration(models.config(model), model.name)
    options = {
        "config": config,
        "dtype": getattr(torch, dtype),
        "quantization_config": quantization_config,
        **_device_options(placement),
    }
    source = None if model.folder is None else str(model.folder)
    if source is None:
        options["state_dict"] = models.lazy_state_dict(model, dtype)
    else:
        options |= {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    options = {key: value for key, value in options.items() if value is not None}
    try:
        with _LOADING, watching(progress), _in_turn(placement), _offloaded(placement) as offload:
            # Not the Auto class itself: it takes the missing folder of a shape for a mistake.
            made = _class_for(config, quantization_config, model)
            if offload is not None:
                options["offload_folder"] = str(offload.path)
            loaded = made.from_pretrained(source, output_loading_info=True, **options)
            if offload is not None:
                # When the variant is closed, at the latest with the process.
                weakref.finalize(loaded[0], offload.remove)
    except Stopped as stopped:
        _let_go(stopped)
        raise
    except (ImportError, QuantlabError):
        raise
    except Exception as error:
        _let_go(error)
        raise translate(error, model) from error
    network, info = loaded
    network.unused_tensors = tuple(sorted(info["unexpected_keys"]))
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"{model.name} lacks weights that its architecture needs: {missing[0]}{_and_more(missing)}.",
            "If its head is its embeddings, set tie_word_embeddings to true in config.json."
            if missing == ["lm_head.weight"]
            else "The folder is incomplete, or its config.json belongs to another model.",
        )
    _take_over(network)
    return network.eval().requires_grad_(False)


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1:,} more" if len(names) > 1 else ""


def _take_over(network: torch.nn.Module) -> None:
    """Give the network memory of its own for weights that still are a file's pages.

    What is read as it is stored comes as a map of its file on a CPU: whoever wrote over the file would change a model
    that is in use, and whoever cut it short would end this process.
    """
    taken: dict[int, torch.UntypedStorage] = {}
    for tensor in every_tensor(network):
        storage = tensor.untyped_storage() if tensor.device.type == "cpu" else None
        # Only memory that torch has not allocated itself cannot be resized.
        if storage is not None and storage.nbytes() and not storage.resizable():
            own = taken.setdefault(storage.data_ptr(), storage.clone())  # what is shared stays shared
            place = (own, tensor.storage_offset(), tensor.size(), tensor.stride())
            tensor.data = torch.empty(0, dtype=tensor.dtype).set_(*place)


def _let_go(error: Exception) -> None:
    """Free what was loaded so far: the frames of the error's traceback hold the half-built model."""
    traceback.clear_frames(error.__traceback__)
    release_memory()


def _device_options(placement: ResolvedPlacement) -> dict[str, object]:
    if placement.device_map is None:
        return {"device_map": {"": placement.device}}
    if isinstance(placement.device_map, str):
        return {"device_map": placement.device_map}
    return {"device_map": dict(placement.device_map)}


@contextmanager
def _offloaded(placement: ResolvedPlacement) -> Iterator[OffloadFolder | None]:
    """A folder for the layers that a map leaves on the disk, None where it leaves none; a load that fails removes it.

    Raises Unavailable where none can be made.
    """
    if isinstance(placement.device_map, str | None) or "disk" not in dict(placement.device_map).values():
        yield None
        return
    try:
        folder = OffloadFolder()
    except OSError as error:
        raise disk_error(error) from error
    try:
        yield folder
    except BaseException as error:
        folder.remove()
        if (number := disk_errno(error)) is not None:  # by safetensors, whose errors are none of the system's
            raise disk_error(OSError(number, os.strerror(number), str(folder.path.parent))) from error
        raise


def translate(error: Exception, model: Model) -> Exception:
    """The error a user can act on, or the same one where it is a defect of ours."""
    if is_out_of_memory(error):
        return OutOfMemory(
            f"{model.name} does not fit into memory.", "Choose fewer bits, a smaller model, or free some memory."
        )
    if "ignore_mismatched_sizes" in str(error):
        return _other_sizes(model)
    if disk_errno(error) in NO_ROOM:
        return disk_error(error)
    if _is_ours(error):
        return error
    try:
        skeleton(model)
    except ModelError as earlier:  # it fails without any weights: config.json is to blame
        return earlier
    return ModelError(
        f"{model.name} cannot be loaded: {cause(error)}.",
        "Its files may not belong together, or its class in transformers does not take this way of storing weights.",
    )


def _other_sizes(model: Model, which: str = "") -> ModelError:
    return ModelError(
        f"The weights of {model.name} have other sizes than its config.json says{which}.",
        "Check that its files belong together.",
    )


def _is_ours(error: Exception) -> bool:
    """Whether it was raised by code of quantlab: a defect, and not what a file or a library did."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(_PACKAGE)


def finish(
    network: torch.nn.Module, placement: ResolvedPlacement, facts_dtype: str, kernel: str, notes: Iterable[str] = ()
) -> TorchModel:
    """Wrap a loaded network with how it really runs."""
    device_map = getattr(network, "hf_device_map", None) or {"": placement.device}
    places = {str(module): canonical(str(where)) for module, where in device_map.items()}
    facts = Facts(facts_dtype, kernel, places, tuple(notes))
    device = next((where for where in places.values() if where not in ("cpu", "disk")), "cpu")
    return TorchModel(network, device, facts, context_length(network.config.to_dict()))
