"""The backend tests of the `onnx` package, and what ONNX Runtime in Python answers to them.

They are 1,905 small models with inputs and the outputs that the ONNX standard demands. ONNX
Runtime does not pass all of them; what it answers here is the bar for a server built on it.
"""

import ctypes
import glob
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from oip import DATATYPES, DTYPES

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
KINDS = ["node", "pytorch-converted", "pytorch-operator", "simple"]
RANDOM_OPS = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


@dataclass
class Reference:
    """What ONNX Runtime in Python made of one case."""

    verdict: str  # "right", "wrong" (not what the standard demands), "refused", or "not carried" by v2
    reason: str = ""
    random: bool = False  # only types and shapes of the answers can be compared
    outputs: list = field(default_factory=list)  # one list of arrays per data set


def folders():
    """Returns {case name: folder}, sorted by name."""
    found = [folder for kind in KINDS for folder in (DATA / kind).iterdir() if (folder / "model.onnx").is_file()]
    return {folder.name: folder for folder in sorted(found, key=lambda folder: folder.name)}


def data_sets(folder, model):
    """Yields (inputs, expected outputs) of a case, each {name: value}."""
    for data_set in sorted(glob.glob(f"{folder}/test_data_set_*")):
        yield values(data_set, "input", model.graph.input), values(data_set, "output", model.graph.output)


def values(data_set, kind, declared):
    """Reads input_0.pb, input_1.pb, … of a data set; they stand in the order of the declared values."""
    count = len(glob.glob(f"{data_set}/{kind}_*.pb"))
    return {value.name: read(f"{data_set}/{kind}_{at}.pb") for at, value in enumerate(declared[:count])}


def read(path):
    """Reads one tensor."""
    return numpy_helper.to_array(onnx.TensorProto.FromString(Path(path).read_bytes()))


def not_carried(graph):
    """Returns why v2 cannot carry a graph's inputs or outputs; empty if it can."""
    for value in [*graph.input, *graph.output]:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            return f"`{value.name}` is of {kind.replace('_type', '')} type"
        if value.type.tensor_type.elem_type not in DATATYPES:
            element = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            return f"`{value.name}` has elements of type {element}"
    return ""


def references(names):
    """Returns {case name: Reference}; a few seconds for all of them, in as many processes as there are cores."""
    found = folders()
    with ProcessPoolExecutor() as pool:
        answers = pool.map(reference, [found[name] for name in names], chunksize=20)
        return dict(zip(names, answers, strict=True))


def reference(folder):
    """Asks ONNX Runtime in Python for the answers to one case and judges them."""
    onnxruntime.set_default_logger_severity(4)
    model = onnx.load(folder / "model.onnx")
    if reason := not_carried(model.graph):
        return Reference("not carried", reason)
    result = Reference("right", random=is_random(model))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        for inputs, expected in data_sets(folder, model):
            outputs = run(session, inputs)
            result.outputs.append(outputs)
            difference = compare(expected.values(), outputs, **tolerances(folder))
            if difference and result.verdict == "right":
                result.verdict, result.reason = "wrong", difference
    except Exception as error:  # ONNX Runtime raises a dozen kinds, RuntimeError and ValueError among them
        result.verdict, result.reason = "refused", " ".join(str(error).split())[:300]
    return result


def run(session, inputs):
    """Runs a session on {name: value}; BF16, which NumPy lacks, goes in and comes out through OrtValues."""
    feeds = {}
    for name, value in inputs.items():
        if value.dtype == DTYPES["BF16"]:
            value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, onnx.TensorProto.BFLOAT16)
        feeds[name] = value
    exotic = any(isinstance(value, onnxruntime.OrtValue) for value in feeds.values())
    if not exotic and all(output.type != "tensor(bfloat16)" for output in session.get_outputs()):
        return session.run(None, feeds)
    for name, value in feeds.items():
        if not isinstance(value, onnxruntime.OrtValue):
            feeds[name] = onnxruntime.OrtValue.ortvalue_from_numpy(value)
    names = [output.name for output in session.get_outputs()]
    return [as_array(value) for value in session.run_with_ort_values(names, feeds)]


def as_array(value):
    """Returns an OrtValue as an array; ONNX Runtime has no way to BF16 but the address of its bytes."""
    if value.element_type() != onnx.TensorProto.BFLOAT16:
        return value.numpy()
    size = 2 * int(np.prod(value.shape()))
    return np.frombuffer(ctypes.string_at(value.data_ptr(), size), DTYPES["BF16"]).reshape(value.shape())


def tolerances(folder):
    """Returns the case's own tolerances; the backend tests' usual ones where it has none."""
    file = folder / "data.json"
    own = json.loads(file.read_text()) if file.is_file() else {}
    return {"rtol": own.get("rtol", 1e-3), "atol": own.get("atol", 1e-7)}


def compare(expected, found, **tolerances):
    """Returns the first difference of two lists of arrays in words; empty if there is none."""
    expected, found = list(expected), list(found)
    if len(expected) != len(found):
        return f"expected {len(expected)} outputs, got {len(found)}"
    for at, (wanted, got) in enumerate(zip(expected, found)):
        if difference := compare_arrays(wanted, got, **tolerances):
            return f"output {at}: {difference}"
    return ""


def compare_arrays(expected, found, rtol, atol, values=True):
    """Returns the difference of two arrays in words; NaN equals NaN, text and integers are exact."""
    texts = expected.dtype.kind in "OSU"
    if texts != (found.dtype.kind in "OSU") or not texts and expected.dtype != found.dtype:
        return f"expected {expected.dtype}, got {found.dtype}"
    if expected.shape != found.shape:
        return f"expected shape {list(expected.shape)}, got {list(found.shape)}"
    if not values:
        return ""
    if texts or expected.dtype.kind in "biu":
        near = expected == found
    else:
        with np.errstate(all="ignore"):
            wide = (found.astype(np.float64), expected.astype(np.float64))
            near = np.isclose(*wide, rtol=rtol, atol=atol, equal_nan=True)
    off = np.argwhere(~np.atleast_1d(near))
    if not len(off):
        return ""
    wanted, got = (np.atleast_1d(array)[tuple(off[0])] for array in (expected, found))
    return f"{len(off)} of {expected.size} elements differ, the first: expected {wanted!r}, got {got!r}"


def is_random(model):
    """Says whether a model draws random numbers, in any subgraph or function."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        if node.op_type in RANDOM_OPS or (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]):
            return True
        for attribute in node.attribute:
            pending += [*attribute.g.node, *(inner for graph in attribute.graphs for inner in graph.node)]
    return False
