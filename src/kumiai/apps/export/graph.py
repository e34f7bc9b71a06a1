"""The exported network as an ONNX graph (extra `onnx`), checked with ONNX Runtime before it counts.

`torch.onnx.export` writes where each operation stood in the source, with paths of this machine:
that is removed, so that the file holds the network alone. The batch is the dynamic dimension.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kumiai.apps.export.network import compute_outputs
from kumiai.base.errors import InputError
from kumiai.learning.recipe import Recipe, build_seeded

GRAPH_FILE = "model.onnx"
INSTALL = "install it with: pip install 'kumiai[onnx]'"
TOLERANCE = 1e-4  # ONNX Runtime adds up in another order
SIZE_BYTES_MAX = 2_000_000_000  # a protobuf message has at most 2 GiB
EXAMPLES = 2  # one sample would be taken for a fixed batch


def require_onnx() -> None:
    """Raise InputError with the fix unless all of the extra is there."""
    missing = [
        name
        for name in ("onnx", "onnxscript", "onnxruntime")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError("--onnx", f"{', '.join(missing)} not installed", INSTALL)


def write_graph(
    folder: Path, recipe: Recipe, width: float, tensors: Mapping[str, Tensor], inputs: Tensor
) -> None:
    """Write model.onnx for the network of `width`; `inputs` are samples to check it with.

    InputError that names the operator which ONNX does not have, or says what else is in the way.
    """
    require_onnx()
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if numbers > SIZE_BYTES_MAX:
        fix = f"{numbers} bytes do not fit one ONNX file: export a narrower width"
        raise InputError("--onnx", recipe.name, fix)
    module = build_seeded(recipe, width, 0)
    module.load_state_dict(dict(tensors), strict=False)
    example = torch.cat([inputs] * EXAMPLES)[:EXAMPLES]
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["inputs"],
                output_names=["outputs"],
                verbose=False,
            )
    except Exception as error:  # the recipe is the user's code, and the exporter raises anything
        raise InputError("--onnx", recipe.name, explain(error)) from error
    assert program is not None
    model = program.model_proto
    _forget_places(model)
    data: bytes = model.SerializeToString()
    _check(data, recipe, width, tensors, inputs)
    (folder / GRAPH_FILE).write_bytes(data)


def explain(error: BaseException) -> str:
    """Return one sentence about why the exporter refused a network."""
    said, each = [], error
    while each is not None:
        said.append(str(each))
        each = each.__cause__  # type: ignore[assignment]
    text = "\n".join(said)
    operator = re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", text)
    operator = operator or re.search(r"target=torch\.ops\.([\w.]+)\]", text)
    if operator:
        return f"ONNX has no operator for {operator[1]}: replace it in the recipe, or omit --onnx"
    if "data-dependent" in text or "data dependent" in text:
        code = re.search(r"File \"[^\"]+\", line (\d+), in (\w+)\n\s+(.+)", text)
        place = f" (line {code[1]}: {code[3].strip()})" if code else ""
        return f"its path depends on the values of its inputs{place}, which a graph cannot express"
    lines = [line.strip() for line in said[-1].splitlines() if line.strip()]
    return f"it cannot be written as a graph: {lines[0] if lines else type(error).__name__}"


def run_graph(source: bytes | Path, inputs: Tensor) -> Tensor:
    """Return what ONNX Runtime says about `inputs`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    data = source.read_bytes() if isinstance(source, Path) else source
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])


def _check(
    data: bytes, recipe: Recipe, width: float, tensors: Mapping[str, Tensor], inputs: Tensor
) -> None:
    """Compare with the engine, on one sample and on all of them."""
    for batch in (inputs[:1], inputs):
        expected = compute_outputs(recipe, width, tensors, batch)
        try:
            found = run_graph(data, batch)
        except Exception as error:
            fix = f"ONNX Runtime cannot run it: {str(error).strip().partition(chr(10))[0]}"
            raise InputError("--onnx", recipe.name, fix) from error
        if found.shape != expected.shape or not torch.allclose(
            found, expected, rtol=TOLERANCE, atol=TOLERANCE
        ):
            fix = f"ONNX Runtime gives other outputs for {len(batch)} samples: omit --onnx"
            raise InputError("--onnx", recipe.name, fix)


def _forget_places(model: Any) -> None:
    """Remove what the exporter noted about source files, and every node's own notes."""
    parts = [model, model.graph, *model.functions]
    parts += [*model.graph.node, *model.graph.value_info, *model.graph.initializer]
    parts += [*model.graph.input, *model.graph.output]
    for function in model.functions:
        parts += [*function.node, *function.value_info]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its steps on the terminal and through logging: ours says what matters."""
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
