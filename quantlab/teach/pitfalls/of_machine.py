"""Pitfalls that hang on the machine and on what is installed."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from quantlab.methods import METHODS
from quantlab.records import Placement
from quantlab.records.pitfalls import CARE, FINE, UNSEEN, WRONG, Pitfall
from quantlab.runtime import hardware, placement
from quantlab.settings import AppSettings

_REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements.txt"


def pitfalls(device: str, app: AppSettings) -> Iterator[Pitfall]:
    """Those of the machine, with what was seen of each. Raises BadInput for a device that does not exist."""
    where = placement.resolve(Placement(device))
    yield compute_type(where.device)
    yield on_a_processor(where.device)
    yield device_map(len(hardware.gpus()))
    yield kernels(where.device)
    yield versions(_ranges())


def compute_type(device: str) -> Pitfall:
    native = hardware.computes_bfloat16(device)
    dtype = placement.compute_dtype(None, device)
    name = hardware.device_name(device)
    seen = f"{name} multiplies bfloat16 natively" if native else f"{name} does not multiply bfloat16 natively"
    return Pitfall(
        "compute type",
        FINE if native else CARE,
        "4-bit weights are unpacked into this type before each product. An integer type there gives nonsense, and one "
        "that the device emulates is slow.",
        f"{seen}: the default here is {dtype}.",
        "" if native else "Leave the default, or compare both: --compute-dtype bfloat16 and float32.",
        f"BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.{dtype})",
    )


def on_a_processor(device: str) -> Pitfall:
    on_cpu = device == "cpu"
    return Pitfall(
        "quantized on a processor",
        CARE if on_cpu else FINE,
        "Most methods save memory there and no time: weights are unpacked for each product.",
        "There is no GPU that torch can use." if on_cpu else f"The models run on {hardware.device_name(device)}.",
        "Measure it, with a GGUF beside it, which is made for processors." if on_cpu else "",
        "quantlab compare --precisions bf16,nf4,q4_k_m" if on_cpu else "",
    )


def device_map(gpus: int) -> Pitfall:
    several = gpus > 1
    return Pitfall(
        "missing device map",
        CARE if several else FINE,
        "Without a map a model goes to one device whole, or stays on the processor.",
        f"{gpus} GPUs are here." if several else "There is one device, on which all lies with and without a map.",
        "Let accelerate spread the layers." if several else "",
        'AutoModelForCausalLM.from_pretrained(name, device_map="auto")' if several else "",
    )


def kernels(device: str) -> Pitfall:
    absent = {method.title: why for method in METHODS.values() if (why := method.unavailable(device))}
    return Pitfall(
        "missing kernels",
        CARE if absent else FINE,
        "A method whose package or kernel is missing cannot run, or runs by a slow way round.",
        " ".join(f"{title}: it {why}." for title, why in absent.items()) or "Every method can run here.",
        "Install what is named, where you want that method." if absent else "",
    )


def versions(ranges: dict[str, str]) -> Pitfall:
    effect = "Libraries change their arguments, their files and their figures between versions."
    if not ranges:
        return Pitfall("library versions", UNSEEN, effect, "It is not known here which versions quantlab is made for.")
    outside = []
    for package, wanted in ranges.items():
        try:
            there = version(package)
        except PackageNotFoundError:
            outside.append(f"{package} is missing")
            continue
        if not Requirement(f"{package}{wanted}").specifier.contains(there, prereleases=True):
            outside.append(f"{package} is {there}, made for {wanted}")
    return Pitfall(
        "library versions",
        WRONG if outside else FINE,
        effect,
        f"{'; '.join(outside)}." if outside else f"All {len(ranges)} are within the ranges that quantlab is made for.",
        "Install the versions that it is made for." if outside else "",
        "pip install -r requirements.txt" if outside else "",
    )


def _ranges() -> dict[str, str]:
    """The packages that quantlab needs and their ranges, as its installation says or, in a checkout, its file."""
    try:
        lines = requires("quantlab") or []
    except PackageNotFoundError:
        lines = _REQUIREMENTS.read_text("utf-8").splitlines() if _REQUIREMENTS.is_file() else []
    found = {}
    for line in lines:
        try:
            wanted = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:  # a comment, an empty line
            continue
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            found[wanted.name] = str(wanted.specifier)
    return found
