"""What an exported `model.py` holds beside its network. This code is copied into it: torch alone.

The file of tensors is a safetensors file: eight bytes with the length of a JSON table, the table
(name -> kind, shape, first and last byte), and the numbers. Reading it needs no package and runs
nothing, unlike unpickling.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

KINDS = {
    "F32": torch.float32,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind, shape = KINDS[entry["dtype"]], entry["shape"]
        count = (end - begin) // kind.itemsize
        flat = torch.empty(0, dtype=kind)
        if count:
            flat = torch.frombuffer(data, dtype=kind, count=count, offset=start + begin)
        tensors[name] = flat.reshape(shape)
    return tensors


def fill(network: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Put the tensors into the network; ValueError unless they are exactly its numbers."""
    state = network.state_dict(keep_vars=True)
    found = network.load_state_dict(tensors, strict=False)
    filled = {id(state[name]) for name in tensors if name in state}
    # a number tied under a second name is in the file once; integer counters need not be there
    missing = [
        name
        for name in found.missing_keys
        if state[name].is_floating_point() and id(state[name]) not in filled
    ]
    if missing or found.unexpected_keys:
        raise ValueError(f"missing {missing}, not in the network {found.unexpected_keys}")
    return network
