"""Lays an adapter beside the weights of a loaded model. peft is imported where one is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quantlab.errors import ModelError, Unavailable, is_exit
from quantlab.methods import adapters
from quantlab.models.quiet import NO_OUTPUT, NO_WARNINGS, Shared, watching
from quantlab.records import Adapter, silent
from quantlab.runtime.session import LoadedModel

if TYPE_CHECKING:
    from peft import PeftModel


def _without_gptqmodel() -> Callable[[], None]:
    """peft imports gptqmodel, which takes seconds and greets the terminal, to ask of each layer whether it is one of
    its own. Where it was not imported by now, none is."""
    if "gptqmodel" in sys.modules:
        return lambda: None
    from importlib import import_module

    users: list[Any] = [import_module(f"peft.{name}") for name in _ASKERS]
    before = [(it, it.is_gptqmodel_available) for it in users if hasattr(it, "is_gptqmodel_available")]
    for module, _ in before:
        module.is_gptqmodel_available = lambda: False

    def undo() -> None:
        for module, own in before:
            module.is_gptqmodel_available = own

    return undo


#: The modules of peft that ask for gptqmodel.
_ASKERS = ("tuners.lora.gptq", "tuners.lora.awq", "utils.quantization_utils", "utils.other")
_WITHOUT_GPTQMODEL = Shared(_without_gptqmodel)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """For calls into peft: nothing reaches the terminal, and gptqmodel is not imported for it."""
    with watching(silent), NO_OUTPUT, NO_WARNINGS, _WITHOUT_GPTQMODEL:
        yield


def attach(loaded: LoadedModel, adapter: Adapter) -> "PeftModel":
    """Lay the matrices of `adapter` beside the layers that it names, in the loaded network itself; peft's own object
    for both.

    Raises Unavailable without peft, ModelError where peft cannot read or place them.
    """
    if (reason := adapters.unavailable()) is not None:
        raise Unavailable(f"The adapter {adapter.name} {reason}.")
    if loaded.network is None:
        raise RuntimeError("an adapter lies beside a network of torch's")
    try:
        with quiet_peft():
            from peft import PeftModel

            found = PeftModel.from_pretrained(loaded.network, str(adapter.folder), torch_device="cpu")
    except Exception as error:  # whatever is in the files
        if is_exit(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"peft cannot use the adapter {adapter.name}: {first[:200]}.", "Train it again.") from error
    loaded.network.eval()
    return found
