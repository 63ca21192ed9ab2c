"""Lays an adapter beside the weights of a loaded model. peft is imported where one is."""

from quantlab.errors import ModelError, Unavailable, is_exit
from quantlab.methods import adapters
from quantlab.records import Adapter, silent
from quantlab.runtime.session import LoadedModel


def attach(loaded: LoadedModel, adapter: Adapter) -> None:
    """Lay the matrices of `adapter` beside the layers that it names, in the loaded network itself.

    Raises Unavailable without peft, ModelError where peft cannot read or place them.
    """
    if (reason := adapters.unavailable()) is not None:
        raise Unavailable(f"The adapter {adapter.name} {reason}.")
    if loaded.network is None:
        raise RuntimeError("an adapter lies beside a network of torch's")
    from quantlab.models.quiet import import_transformers, watching

    import_transformers()
    from peft import PeftModel

    try:
        with watching(silent):
            PeftModel.from_pretrained(loaded.network, str(adapter.folder), torch_device="cpu")  # moved to its layers
    except Exception as error:  # whatever is in the files
        if is_exit(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"peft cannot use the adapter {adapter.name}: {first[:200]}.", "Train it again.") from error
    loaded.network.eval()
