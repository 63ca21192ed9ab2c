"""What GPTQ and AWQ have in common: gptqmodel quantizes both, from a text, into checkpoints that transformers loads."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantlab import models
from quantlab.methods.base import Method, already_quantized, missing_package
from quantlab.methods.gptq.architectures import ARCHITECTURES
from quantlab.models.layouts import IN_BLOCK
from quantlab.models.materialize import materialized
from quantlab.records import Calibration, Checkpoint, Model, Progress, ResolvedPlacement, Variant, units
from quantlab.records.asked import P
from quantlab.runtime import worker
from quantlab.runtime.kv_cache import HQQ_BITS
from quantlab.runtime.session import Facts, LoadedModel

#: What a kernel for the GPU takes: weights that share one scale.
GROUP_SIZES = (32, 64, 128)
#: The same as round-to-nearest's, so that what differs is the method.
GROUP_SIZE = 64
PACKAGES = ("transformers", "gptqmodel", "optimum")


class CalibratedMethod(Method[P]):
    """A method of gptqmodel. Subclasses name their `options` and what their packing asks of a layer's sizes."""

    packages = PACKAGES
    kept = True
    kv_caches = tuple(HQQ_BITS)
    reads_more = True
    architectures = ARCHITECTURES
    #: Outputs are packed into words of 32 bits.
    output_multiple = 32
    #: No more windows than these, and no longer ones, are read.
    most_samples: int | None = None
    most_length: int | None = None

    def options(self, precision: P) -> dict[str, Any]:
        """The arguments of gptqmodel's configuration, plain JSON."""
        raise NotImplementedError

    def group_size(self, precision: P) -> int:
        """Weights that share one scale."""
        raise NotImplementedError

    def calibrated(self, precision: P) -> bool:
        return True

    def unavailable(self, device: str) -> str | None:
        if missing_package("gptqmodel") or missing_package("optimum"):
            return "needs the packages gptqmodel and optimum: pip install -r requirements-gptq.txt"
        return worker.unavailable()

    def refuses(self, precision: P, checkpoint: Checkpoint, device: str) -> str | None:
        if (reason := already_quantized(checkpoint)) is not None:
            return reason
        kind, group_size = checkpoint.config.get("model_type"), self.group_size(precision)
        if kind not in self.architectures:
            known = ", ".join(sorted(self.architectures))
            return f"does not take the architecture {kind}: choose another precision, or a model of one of {known}"
        for name, info in checkpoint.tensors.items():
            if len(info.shape) != 2 or not IN_BLOCK.search(name):
                continue
            outputs, inputs = info.shape
            layer = name.removesuffix(".weight")
            if inputs % group_size:
                return (
                    f"needs rows that divide into groups of {group_size}, and {layer} has {inputs} inputs: "
                    f"choose another group size (-g32, -g64 or -g128) or another precision"
                )
            if outputs % self.output_multiple:
                return (
                    f"needs layers whose outputs are a multiple of {self.output_multiple}, and {layer} has {outputs}: "
                    f"choose another precision"
                )
        return None

    def prepare(self) -> None:
        from quantlab.methods import quantized_loading

        quantized_loading.prepare()

    def build(self, variant: Variant[P], folder: Path, progress: Progress) -> None:
        """Quantize in a process of its own; `folder` holds only the checkpoint in the end."""
        text = variant.calibration or Calibration()
        samples = min(text.samples, self.most_samples or text.samples)
        length = min(text.length, self.most_length or text.length)
        work = folder.absolute() / ".work"
        work.mkdir()
        source = materialized(variant.model, work, progress)
        arguments = {
            "source": str(source.absolute()),
            "name": variant.model.name,
            "folder": str(folder.absolute()),
            "work": str(work),
            "method": self.name,
            "options": self.options(variant.precision),
            "device": variant.placement.device,
            "calibration": {
                "file": str(text.file.absolute()) if text.file else None,
                "digest": text.digest,
                "samples": samples,
                "length": length,
            },
        }
        try:
            worker.run("quantlab.methods.gptq.quantizing:quantize", arguments, progress, _environment(work))
        except RuntimeError as error:
            from quantlab.methods.gptq.quantizing import failure

            raise failure(work) or error from error
        shutil.rmtree(work)
        models.copy_tokenizer(variant.model, folder)

    def load(self, model: Model, precision: P, placement: ResolvedPlacement, progress: Progress) -> LoadedModel:
        from quantlab.methods.quantized_loading import load_quantized

        loaded = load_quantized(model, placement, progress)
        calibration = models.config(model)["quantization_config"].get("meta", {}).get("calibration")
        if calibration:
            loaded.facts = _with_calibration(loaded.facts, **calibration)
        return loaded


def _with_calibration(facts: Facts, text: str, windows: int, length: int, windows_asked: int) -> Facts:
    told = f"{units.counted(windows, 'window')} of {length} tokens, {text} text"
    short = f"calibrated with {windows} of {windows_asked} windows of {length} tokens: the text has no more"
    notes = (*facts.notes, short) if windows < windows_asked else facts.notes
    return replace(facts, notes=notes, details={**facts.details, "calibration": told})


def _environment(work: Path) -> Mapping[str, str]:
    """gptqmodel's pool has to hold two workers also on one core. What it writes aside vanishes with the work folder."""
    return {
        "GPTQMODEL_CPU_WORKERS": str(max(2, os.cpu_count() or 1)),
        "TMPDIR": str(work),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
