"""Makes ONNX models that the tests need: big ones, odd ones and broken ones.

    python make_model.py KIND OUT.onnx            # --help lists the kinds
    python make_model.py cnn --mb 100 OUT.onnx    # a network with about 100 MB of weights

The same arguments give the same file.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
SEED = 7


def main():
    """Writes the model that the command line asks for."""
    kinds = "\n".join(f"  {name:18} {make.__doc__.splitlines()[0]}" for name, make in KINDS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=kinds, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help="one of the list below")
    parser.add_argument("out", type=Path, metavar="OUT.onnx", help="its folder is made if missing")
    parser.add_argument("--mb", type=float, default=100, help="size of the weights of `cnn`, in MB (default 100)")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    KINDS[arguments.kind](arguments.out, arguments.mb)
    print(f"{arguments.kind}: {arguments.out}, {arguments.out.stat().st_size:,} bytes")
    return 0


# ------------------------------------------------------------------------------------ the pieces


def graph_model(nodes, inputs, outputs, weights=None, ir_version=IR_VERSION, **opsets):
    """Returns a model; `inputs` and `outputs` are {name: (element type, shape)}, `weights` {name: array}."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [
            spec if isinstance(spec, onnx.ValueInfoProto) else helper.make_tensor_value_info(name, *spec)
            for name, spec in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    versions = {"": OPSET} | {domain.replace("_", "."): version for domain, version in opsets.items()}
    opset_imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(graph, ir_version=ir_version, opset_imports=opset_imports, producer_name="hedef tests")


def identity(element, shape):
    """Returns a model whose output `OUTPUT` is its input `INPUT`."""
    node = helper.make_node("Identity", ["INPUT"], ["OUTPUT"], name="identity")
    return graph_model([node], {"INPUT": (element, shape)}, {"OUTPUT": (element, shape)})


def doubler(weight, **options):
    """Returns a model with one weight `w`: y = x * w, both FP32 [batch,4]."""
    node = helper.make_node("Mul", ["x", "w"], ["y"], name="mul")
    return graph_model([node], {"x": ROWS}, {"y": ROWS}, {"w": weight}, **options)


ROWS = (TensorProto.FLOAT, ["batch", 4])
TWO = np.full(4, 2, np.float32)


def save(model, out):
    """Writes a model file."""
    out.write_bytes(model.SerializeToString(deterministic=True))


def save_external(model, out, location, length=None):
    """Writes a model whose weight `w` lies in another file; `length` overrides the byte count."""
    (weight,) = model.graph.initializer
    content = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": 0, "length": length or len(content)}.items():
        weight.external_data.add(key=key, value=str(value))
    save(model, out)
    return content


# ------------------------------------------------------------------------------------- the kinds


def cnn(out, mb):
    """Ten convolutions and a classifier with --mb of random weights; image FP32 [batch,3,16,16]."""
    layers = 10
    channels = max(4, round((mb * 1e6 / ((layers - 1) * 9 * 4)) ** 0.5))
    random = np.random.default_rng(SEED)
    nodes, weights, flowing, width = [], {}, "image", 3
    for layer in range(layers):
        # Scaled so that the signal neither dies nor explodes on its way through.
        kernel = random.standard_normal((channels, width, 3, 3), np.float32) * (2 / (9 * width)) ** 0.5
        weights[f"conv{layer}.weight"] = kernel.astype(np.float32)
        weights[f"conv{layer}.bias"] = np.zeros(channels, np.float32)
        wires = [flowing, f"conv{layer}.weight", f"conv{layer}.bias"]
        options = {"pads": [1, 1, 1, 1], "strides": [2, 2] if layer < 2 else [1, 1]}
        nodes.append(helper.make_node("Conv", wires, [f"conv{layer}"], name=f"conv{layer}", **options))
        nodes.append(helper.make_node("Relu", [f"conv{layer}"], [f"relu{layer}"], name=f"relu{layer}"))
        flowing, width = f"relu{layer}", channels
    weights["classifier"] = random.standard_normal((channels, 10), np.float32) * np.float32(channels**-0.5)
    nodes += [
        helper.make_node("GlobalAveragePool", [flowing], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "classifier"], ["scores"], name="classify"),
        helper.make_node("Softmax", ["scores"], ["probabilities"], name="softmax"),
    ]
    image = (TensorProto.FLOAT, ["batch", 3, 16, 16])
    save(graph_model(nodes, {"image": image}, {"probabilities": (TensorProto.FLOAT, ["batch", 10])}, weights), out)


def external(out, _):
    """y = x * 2, the weight in `weights.bin` beside the model."""
    (out.parent / "weights.bin").write_bytes(save_external(doubler(TWO), out, "weights.bin"))


def external_missing(out, _):
    """The same, but `weights.bin` is not there."""
    save_external(doubler(TWO), out, "weights.bin")


def external_outside(out, _):
    """The same, the weight in `../x`: the file is there, but outside the model's own folder."""
    (out.parent.parent / "x").write_bytes(save_external(doubler(TWO), out, "../x"))


def huge(out, _):
    """A weight of 1 TiB (a sparse file, no disk is used): no memory can hold it."""
    model = doubler(TWO)
    model.graph.initializer[0].dims[:] = [1 << 36, 4]
    save_external(model, out, "weights.bin", 1 << 40)
    with (out.parent / "weights.bin").open("wb") as file:
        file.truncate(1 << 40)


def opset_future(out, _):
    """y = x * 2 in an operator set of the far future (999)."""
    model = doubler(TWO)
    model.opset_import[0].version = 999
    save(model, out)


def ir_future(out, _):
    """y = x * 2 in a file format of the far future (IR version 99)."""
    save(doubler(TWO, ir_version=99), out)


def truncated(out, _):
    """A small network of which only the first 60 % are there."""
    cnn(out, 0.1)
    content = out.read_bytes()
    out.write_bytes(content[: len(content) * 6 // 10])


def not_onnx(out, _):
    """A file with a page of HTML, as a failed download leaves it."""
    out.write_text("<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n")


def unknown_op(out, _):
    """A node `Frobnicate` of the domain `com.example`, which nobody implements."""
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="frobnicate", domain="com.example")
    save(graph_model([node], {"x": ROWS}, {"y": ROWS}, com_example=1), out)


def locale(out, _):
    """Lower-cases text under the locale `xx_XX.UTF-8`, which no system has."""
    node = helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="xx_XX.UTF-8")
    save(graph_model([node], {"x": (TensorProto.STRING, ["n"])}, {"y": (TensorProto.STRING, ["m"])}), out)


def zipmap_int(out, _):
    """Probabilities by ZipMap under the integer labels 10, 20, 30; label INT64 [batch]."""
    domain = "ai.onnx.ml"
    coefficients = np.arange(12) / 10 - 0.5
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            name="classify",
            domain=domain,
            coefficients=coefficients.tolist(),
            intercepts=[0.1, 0.0, -0.1],
            classlabels_ints=[10, 20, 30],
            post_transform="SOFTMAX",
        ),
        helper.make_node(
            "ZipMap", ["scores"], ["probabilities"], name="zip", domain=domain, classlabels_int64s=[10, 20, 30]
        ),
    ]
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    sequence = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, tensor))
    outputs = {
        "label": (TensorProto.INT64, ["batch"]),
        "probabilities": helper.make_value_info("probabilities", sequence),
    }
    save(graph_model(nodes, {"x": ROWS}, outputs, ai_onnx_ml=3), out)


def sequence_output(out, _):
    """The rows of x as a sequence of tensors, which v2 has no words for."""
    node = helper.make_node("SplitToSequence", ["x"], ["rows"], name="split", axis=0)
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 4]))
    save(graph_model([node], {"x": ROWS}, {"rows": helper.make_value_info("rows", sequence)}), out)


def mean_over_batch(out, _):
    """y = x minus the mean over all rows: axis 0 is free, but rows depend on each other."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], name="mean", axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"], name="subtract"),
    ]
    save(graph_model(nodes, {"x": ROWS}, {"y": ROWS}), out)


def nonzero(out, _):
    """Where x is not zero, INT64 [2,found]: the output has no row for each row of the input."""
    node = helper.make_node("NonZero", ["x"], ["where"], name="nonzero")
    save(graph_model([node], {"x": ROWS}, {"where": (TensorProto.INT64, [2, "found"])}), out)


def slow(out, _):
    """y = x, after a loop of matrix products that keeps a core busy for 50 to 200 ms, whatever the batch."""
    size, rounds = 512, 72
    weight = np.random.default_rng(SEED).standard_normal((size, size)).astype(np.float32) / size**0.5
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["state", "weight"], ["product"]),
            helper.make_node("Tanh", ["product"], ["next_state"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [size, size]),
        ],
    )
    nodes = [
        # The loop starts from x, or the optimizer would run it once, at load.
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["weight", "nothing"], ["start"]),
        helper.make_node("Loop", ["rounds", "", "start"], ["end"], name="loop", body=body),
        helper.make_node("ReduceMean", ["end"], ["end_mean"], keepdims=0),
        helper.make_node("Mul", ["end_mean", "zero"], ["still_nothing"]),
        helper.make_node("Add", ["x", "still_nothing"], ["y"]),
    ]
    weights = {"weight": weight, "zero": np.float32(0), "rounds": np.int64(rounds)}
    save(graph_model(nodes, {"x": ROWS}, {"y": ROWS}, weights), out)


def patient(out, _):
    """y = x, after as many rounds of a loop as the first element of x says: with 1e12 it never ends by itself."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Tanh", ["state"], ["next_state"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, ["batch", 4]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["rounds", "", "x"], ["end"], name="loop", body=body),
        helper.make_node("Mul", ["end", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    save(graph_model(nodes, {"x": ROWS}, {"y": ROWS}, {"zero": np.float32(0)}), out)


def endless(out, _):
    """y = x, after 2^62 rounds of a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Tanh", ["state"], ["next_state"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, ["batch", 4]),
        ],
    )
    node = helper.make_node("Loop", ["rounds", "", "x"], ["y"], name="loop", body=body)
    save(graph_model([node], {"x": ROWS}, {"y": ROWS}, {"rounds": np.int64(1 << 62)}), out)


def memory_bomb(out, _):
    """y = x, after 40 tensors of 1 GB each, none of which is like another and all of which are there at once."""
    nodes = [helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0)]
    for at in range(40):
        nodes.append(helper.make_node("Add", ["largest", f"c{at}"], [f"seed{at}"]))
        nodes.append(helper.make_node("Expand", [f"seed{at}", "huge"], [f"huge{at}"]))
    nodes.append(helper.make_node("Sum", [f"huge{at}" for at in range(40)], ["all"]))
    nodes.append(helper.make_node("ReduceMax", ["all"], ["most"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["most", "zero"], ["nothing"]))
    nodes.append(helper.make_node("Add", ["x", "nothing"], ["y"]))
    weights = {f"c{at}": np.float32(at) for at in range(40)}
    weights |= {"huge": np.array([250_000_000], np.int64), "zero": np.float32(0)}
    save(graph_model(nodes, {"x": ROWS}, {"y": ROWS}, weights), out)


def too_large(out, _):
    """y = x, after one tensor of 4 EB, which no machine gives."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Expand", ["largest", "huge"], ["all"]),
        helper.make_node("ReduceMax", ["all"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    weights = {"huge": np.array([1 << 60], np.int64), "zero": np.float32(0)}
    save(graph_model(nodes, {"x": ROWS}, {"y": ROWS}, weights), out)


def rowwise(out, _):
    """y = tanh(x) and sum, the sum of each row of y * x: rows of any width, which zeros at the end do not change.

    A matrix product of about a millisecond, whatever the batch, lets requests pile up meanwhile.
    """
    save(rows_of_any_width(256), out)


def rowwise_short(out, _):
    """The same without the wait."""
    save(rows_of_any_width(4), out)


def rows_of_any_width(size):
    wide = (TensorProto.FLOAT, ["batch", "width"])
    weight = np.random.default_rng(SEED).standard_normal((size, size)).astype(np.float32)
    nodes = [
        # From x, or the optimizer would work it out once, at load.
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["weight", "nothing"], ["start"]),
        helper.make_node("MatMul", ["start", "weight"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["product_mean"], keepdims=0),
        helper.make_node("Mul", ["product_mean", "zero"], ["still_nothing"]),
        helper.make_node("Tanh", ["x"], ["tanh"]),
        helper.make_node("Add", ["tanh", "still_nothing"], ["y"]),
        helper.make_node("Mul", ["x", "tanh"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "axes"], ["sum"], keepdims=0),
    ]
    sums = (TensorProto.FLOAT, ["batch"])
    weights = {"axes": np.array([1], np.int64), "weight": weight, "zero": np.float32(0)}
    return graph_model(nodes, {"x": wide}, {"y": wide, "sum": sums}, weights)


def brittle(out, _):
    """y = x where x is well below a million; else the run fails, for want of an element to gather."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Div", ["largest", "million"], ["millions"]),
        helper.make_node("Cast", ["millions"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "index"], ["nothing"], name="gather", axis=0),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    weights = {"million": np.float32(1e6), "zeros": np.zeros(1, np.float32)}
    save(graph_model(nodes, {"x": ROWS}, {"y": ROWS}, weights), out)


def nan_out(out, _):
    """y = x / 0: infinities, and NaN for 0."""
    node = helper.make_node("Div", ["x", "zero"], ["y"], name="divide")
    save(graph_model([node], {"x": ROWS}, {"y": ROWS}, {"zero": np.float32(0)}), out)


def string_nul(out, _):
    """Strings as they came, BYTES [batch]; for NUL bytes and bytes that are not UTF-8."""
    save(identity(TensorProto.STRING, ["batch"]), out)


def scalar(out, _):
    """y = x + 1, FP32 with shape []."""
    node = helper.make_node("Add", ["x", "one"], ["y"], name="add")
    number = (TensorProto.FLOAT, [])
    save(graph_model([node], {"x": number}, {"y": number}, {"one": np.float32(1)}), out)


def rank8(out, _):
    """y = x * 2, FP32 [batch,1,2,1,2,1,2,1]."""
    node = helper.make_node("Mul", ["x", "two"], ["y"], name="mul")
    deep = (TensorProto.FLOAT, ["batch", 1, 2, 1, 2, 1, 2, 1])
    save(graph_model([node], {"x": deep}, {"y": deep}, {"two": np.float32(2)}), out)


KINDS = {
    make.__name__: make
    for make in (
        cnn,
        external,
        external_missing,
        external_outside,
        huge,
        opset_future,
        ir_future,
        truncated,
        not_onnx,
        unknown_op,
        locale,
        zipmap_int,
        sequence_output,
        mean_over_batch,
        nonzero,
        slow,
        patient,
        endless,
        memory_bomb,
        too_large,
        rowwise,
        rowwise_short,
        brittle,
        nan_out,
        string_nul,
        scalar,
        rank8,
    )
}

if __name__ == "__main__":
    sys.exit(main())
