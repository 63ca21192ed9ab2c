"""The parts of a split GGUF file as one, for readers that know only whole ones."""

from pathlib import Path

from quantlab.models.gguf import files
from quantlab.models.gguf.header import read_header
from quantlab.records import Progress

_SPLIT = "split."


def joined(first: Path, target: Path, progress: Progress) -> Path:
    """`target`: a link to a whole file, or the parts of a split one written together, as llama.cpp's own tool does."""
    parts = files.part_files(first)
    if len(parts) == 1:
        target.symlink_to(first)
        return target
    import gguf

    readers = [gguf.GGUFReader(part) for part in parts]
    writer = gguf.GGUFWriter(target, read_header(first, first.name).architecture)
    for field in readers[0].fields.values():
        if not field.name.startswith((_SPLIT, "GGUF.", "general.architecture")):
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        writer.add_tensor_info(
            tensor.name, tensor.data.shape, tensor.data.dtype, tensor.n_bytes, raw_dtype=tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, tensor in enumerate(tensors):
        progress(done, len(tensors), f"joining the parts: {tensor.name}")
        writer.write_tensor_data(tensor.data)
    writer.close()
    return target
