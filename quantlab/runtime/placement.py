"""From what a user asked for to a placement that exists: device, compute dtype, device map."""

import json
import re
from pathlib import Path

from quantlab.errors import BadInput, unknown
from quantlab.records import DeviceMap, Placement, ResolvedPlacement
from quantlab.runtime import hardware

#: Kernels of gptqmodel for GPTQ and AWQ, of which a machine has some; `gptq_` or `awq_` may go in front of a name.
KERNELS = (
    "auto", "torch", "torch_aten", "torch_fused", "torch_int8", "triton", "exllama_v2", "marlin", "machete",
    "swordfish", "bitblas", "w4afp8", "w4a_nvfp4", "gemm", "gemm_triton", "gemv", "gemv_fast", "mlx",
)  # fmt: skip
_KERNEL = re.compile(rf"(gptq_|awq_)?({'|'.join(KERNELS)})(_awq)?")
#: Types in which products of de-quantized weights can be computed.
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
_INTEGER_ADVICE = (
    "Weights are stored as integers but multiplied as floating point: choose float32, bfloat16 or float16. "
    "(int8 activations are what the precision int8 does by itself.)"
)


def resolve(placement: Placement) -> ResolvedPlacement:
    """Fill the defaults in and refuse what does not exist.

    Raises BadInput for an unknown device or dtype, with the valid names.
    """
    device = placement.device
    if device == "auto":
        device = hardware.default_device()
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise unknown("device", device, ("auto", "cpu", "cuda", "cuda:0"))
    mapped = [] if isinstance(placement.device_map, str | None) else [where for _, where in placement.device_map]
    for wanted in mapped:
        if not re.fullmatch(r"cpu|disk|cuda(:\d+)?", wanted):
            raise unknown("device in the device map", wanted, ("cpu", "disk", "cuda:0"))
    for wanted in (device, *mapped):
        _must_exist(wanted)
    if placement.kernel is not None and not _KERNEL.fullmatch(placement.kernel):
        raise unknown("kernel", placement.kernel, KERNELS)
    # Two names of one device would be two variants in the cache.
    device = canonical(device)
    dtype = compute_dtype(placement.compute_dtype, device)
    return ResolvedPlacement(device, dtype, placement.device_map, placement.kernel)


def canonical(device: str) -> str:
    """The one name of a device that has several: accelerate calls GPUs by number, and the first one is `cuda` here."""
    name = f"cuda:{device}" if device.isdigit() else device
    return "cuda" if name == "cuda:0" else name


def devices_of(placement: ResolvedPlacement) -> tuple[str, ...]:
    """The devices in whose memory a variant may lie, the `disk` not among them.

    "auto" (accelerate) takes all GPUs, and the CPU's memory for what does not fit there.
    """
    if placement.device_map is None:
        return (placement.device,)
    if isinstance(placement.device_map, str):
        gpus = (canonical(f"cuda:{i}") for i in range(len(hardware.gpus())))
        return (*gpus, "cpu")
    return tuple(dict.fromkeys(canonical(where) for _, where in placement.device_map if where != "disk"))


def _must_exist(device: str) -> None:
    if not device.startswith("cuda"):
        return
    try:
        hardware.gpu_of(device)
    except LookupError:
        raise BadInput(f"There is no device {device!r} here.", "Choose cpu, or auto.") from None


def compute_dtype(name: str | None, device: str) -> str:
    """The compute dtype asked for, or the default: bfloat16 where the device has it natively, else float32."""
    if name is None:
        return "bfloat16" if hardware.computes_bfloat16(device) else "float32"
    if re.fullmatch(r"u?int\d+", name):
        raise BadInput(f"{name} cannot be a compute dtype.", _INTEGER_ADVICE)
    if name not in COMPUTE_DTYPES:
        raise unknown("compute dtype", name, COMPUTE_DTYPES)
    return name


def parse_device_map(text: str | None) -> DeviceMap:
    """`auto`, a JSON object of module name to device, or a file holding one. Raises BadInput for anything else.

    A device may be a bare number, as accelerate writes GPUs.
    """
    if text is None or text == "auto":
        return text
    try:
        source = text if text.lstrip().startswith("{") else Path(text).read_text()
        entries = json.loads(source)
    except (OSError, ValueError) as error:
        raise BadInput(f"Cannot read the device map: {error}.", 'Give "auto", a JSON object or a JSON file.') from error
    if not isinstance(entries, dict) or not entries:
        raise BadInput("A device map is a JSON object.", 'For example {"model.embed_tokens": "cpu", ...}.')
    return tuple((module, f"cuda:{it}" if str(it).isdigit() else str(it)) for module, it in entries.items())
