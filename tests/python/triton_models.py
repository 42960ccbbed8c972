"""The models that triton_client.py asks for: an identity for each data type, and a few with a point of their own."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from make_model import graph_model, identity, save

# For each data type one row with the values at which encodings break.
EDGES = {
    "BOOL": np.array([[True, False, True, True]]),
    "UINT8": np.array([[0, 1, 127, 255]], np.uint8),
    "UINT16": np.array([[0, 1, 2, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 1, 2, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 1, 2**53 + 1, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, -1, 0, 127]], np.int8),
    "INT16": np.array([[-(2**15), -1, 0, 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), -1, 0, 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), -1, 2**53 + 1, 2**63 - 1]], np.int64),
    "FP16": np.array([[0.1, -0.0, 65504, 6e-8]], np.float16),
    "BF16": np.array([[0.1, -0.0, 3e38, 1e-40]], ml_dtypes.bfloat16),
    "FP32": np.array([[0.1, -0.0, 3.4028235e38, 1e-45]], np.float32),
    "FP64": np.array([[0.1, -0.0, 1.7976931348623157e308, 5e-324]], np.float64),
    "BYTES": np.array([["", "a", "çok güzel", 'quote " and \\ and \n']], object),
}
ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def prepare(models):
    """Writes a repository: an identity for each data type, and a few models with a point of their own."""
    made = {f"identity_{datatype.lower()}": identity(ELEMENTS[datatype], ["batch", 4]) for datatype in EDGES}
    made |= {"simple": simple(), "fixed": fixed(), "scalar": scalar(), "pick": pick(), "animals": animals()}
    for name, model in made.items():
        version = models / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        save(model, version / "model.onnx")
    (models / "animals" / "labels.txt").write_text("cat\ndog\ncow\n")
    (models / "animals" / "model.toml").write_text('[labels]\nOUTPUT = "labels.txt"\n')
    print(f"{len(made)} models in {models}")


def simple():
    """Returns Triton's example: two INT32 inputs of 16, their sum and their difference."""
    row = (TensorProto.INT32, ["batch", 16])
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"], name="add"),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"], name="subtract"),
    ]
    return graph_model(nodes, {"INPUT0": row, "INPUT1": row}, {"OUTPUT0": row, "OUTPUT1": row})


def fixed():
    """Returns y = x + 1 on exactly [2,3]: no axis is free, so there is no batch."""
    table = (TensorProto.FLOAT, [2, 3])
    node = helper.make_node("Add", ["x", "one"], ["y"], name="add")
    return graph_model([node], {"x": table}, {"y": table}, {"one": np.float32(1)})


def scalar():
    """Returns y = x + 1 on shape []."""
    number = (TensorProto.FLOAT, [])
    node = helper.make_node("Add", ["x", "one"], ["y"], name="add")
    return graph_model([node], {"x": number}, {"y": number}, {"one": np.float32(1)})


def pick():
    """Returns a model that fails at run time: it looks up one of four numbers, whatever index comes."""
    node = helper.make_node("Gather", ["numbers", "index"], ["number"], name="gather", axis=0)
    numbers = np.array([10, 20, 30, 40], np.float32)
    index, number = (TensorProto.INT64, ["batch", 1]), (TensorProto.FLOAT, ["batch", 1])
    return graph_model([node], {"index": index}, {"number": number}, {"numbers": numbers})


def animals():
    """Returns an identity on [3], whose classes have labels."""
    return identity(TensorProto.FLOAT, [3])


def large():
    """Yields data types with arrays for their identities, from small to large."""
    random = np.random.default_rng(7)
    for datatype in ["UINT8", "INT16", "FP32", "INT64", "FP64"]:
        for rows in [3, 1_030, 16_384, 37_632, 80_001]:
            yield datatype, random.integers(0, 200, (rows, 4)).astype(EDGES[datatype].dtype)


def model_names():
    """Returns the names of the models that `prepare` makes."""
    return [f"identity_{datatype.lower()}" for datatype in EDGES] + ["simple", "fixed", "scalar", "pick", "animals"]
