#!/usr/bin/env python3
"""Makes the models that the benchmarks run: the shapes of well-known networks with random weights.

    pip install -r benches/requirements.txt
    benches/models.py [--to target/bench-models] [NAME ...]

Every model has a free batch axis 0 and lies in TO/NAME/1/model.onnx. Weights come from a fixed seed, so that a model
is the same wherever it is made, and are scaled so that values stay finite from the first layer to the last. Speed
does not depend on what weights say; nobody should ask these models anything.
"""

import argparse
import math
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# What ONNX Runtime has read since 1.18.
IR_VERSION = 10


class Graph:
    """Collects nodes and weights; each method returns the name of what it made."""

    def __init__(self, name):
        self.name, self.nodes, self.weights, self.random = name, [], [], np.random.default_rng(20)

    def node(self, kind, *inputs, to=None, **attributes):
        to = to or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [to], name=f"{to}_node", **attributes))
        return to

    def cast(self, x, kind):
        # `to` is the attribute's name, too.
        self.nodes.append(helper.make_node("Cast", [x], [f"{x}_cast"], to=kind))
        return f"{x}_cast"

    def constant(self, array):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, *shape, deviation):
        return self.constant((self.random.standard_normal(shape) * deviation).astype(np.float32))

    def linear(self, x, inputs, outputs, gain=1.0):
        """A layer over the last axis."""
        product = self.node("MatMul", x, self.normal(inputs, outputs, deviation=gain / math.sqrt(inputs)))
        return self.node("Add", product, self.normal(outputs, deviation=0.02))

    def conv(self, x, inputs, outputs, kernel, stride=1, group=1, gain=math.sqrt(2)):
        """A convolution with its batch normalisation folded in, as exporters leave it."""
        fan = inputs // group * kernel * kernel
        weight = self.normal(outputs, inputs // group, kernel, kernel, deviation=gain / math.sqrt(fan))
        bias = self.normal(outputs, deviation=0.02)
        pad = kernel // 2
        return self.node("Conv", x, weight, bias, group=group, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[pad] * 4, dilations=[1, 1])

    def classes(self, x, features):
        """Average over the picture, then a thousand classes."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)
        weight = self.normal(1000, features, deviation=1 / math.sqrt(features))
        self.node("Gemm", flat, weight, self.normal(1000, deviation=0.02), to="logits", transB=1)

    def model(self, inputs, outputs):
        value = lambda name, kind, shape: helper.make_tensor_value_info(name, kind, shape)
        graph = helper.make_graph(self.nodes, self.name, [value(*each) for each in inputs],
                                  [value(*each) for each in outputs], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="hedef-bench")
        onnx.checker.check_model(model)
        return model


def tiny():
    """One product of four numbers: what is left is the server around it."""
    graph = Graph("tiny")
    graph.node("MatMul", "x", graph.normal(4, 4, deviation=0.5), to="y")
    return graph.model([("x", TensorProto.FLOAT, ["batch", 4])], [("y", TensorProto.FLOAT, ["batch", 4])])


def mlp():
    """64-256-256-10, as for a table of numbers."""
    graph = Graph("mlp")
    x = graph.node("Relu", graph.linear("x", 64, 256, math.sqrt(2)))
    x = graph.node("Relu", graph.linear(x, 256, 256, math.sqrt(2)))
    graph.node("Softmax", graph.linear(x, 256, 10), to="y", axis=1)
    return graph.model([("x", TensorProto.FLOAT, ["batch", 64])], [("y", TensorProto.FLOAT, ["batch", 10])])


def picture():
    """The first three numbers of 150,528: what a request costs is getting them all in."""
    graph = Graph("picture")
    first = graph.constant(np.int64(0))
    graph.node("Gather", graph.node("Gather", "x", first, axis=3), first, to="y", axis=2)
    return graph.model([("x", TensorProto.FLOAT, ["batch", 3, 224, 224])], [("y", TensorProto.FLOAT, ["batch", 3])])


def mobilenetv2():
    """The layout of MobileNetV2 at width 1: pointwise, depthwise, pointwise; 3.5 million weights."""
    graph = Graph("mobilenetv2")
    zero, six = graph.constant(np.float32(0)), graph.constant(np.float32(6))
    relu6 = lambda x: graph.node("Clip", x, zero, six)
    x, width = relu6(graph.conv("x", 3, 32, 3, stride=2)), 32
    # Expansion, width, repeats, stride: table 2 of https://arxiv.org/abs/1801.04381.
    for expansion, outputs, repeats, first_stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                                      (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for repeat in range(repeats):
            stride, before, hidden = first_stride if repeat == 0 else 1, x, width * expansion
            if expansion > 1:
                x = relu6(graph.conv(x, width, hidden, 1))
            x = relu6(graph.conv(x, hidden, hidden, 3, stride=stride, group=hidden))
            residual = stride == 1 and width == outputs
            x = graph.conv(x, hidden, outputs, 1, gain=0.5 if residual else 1.0)
            x = graph.node("Add", before, x) if residual else x
            width = outputs
    graph.classes(relu6(graph.conv(x, width, 1280, 1)), 1280)
    return graph.model([("x", TensorProto.FLOAT, ["batch", 3, 224, 224])],
                       [("logits", TensorProto.FLOAT, ["batch", 1000])])


def resnet50():
    """The layout of ResNet-50 with its stride in the 3x3 convolutions; 25.5 million weights."""
    graph = Graph("resnet50")
    relu = lambda x: graph.node("Relu", x)
    x = relu(graph.conv("x", 3, 64, 7, stride=2))
    x, width = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for stage, repeats in enumerate([3, 4, 6, 3]):
        inner = 64 << stage
        for repeat in range(repeats):
            stride, before = 2 if stage > 0 and repeat == 0 else 1, x
            x = relu(graph.conv(x, width, inner, 1))
            x = relu(graph.conv(x, inner, inner, 3, stride=stride))
            x = graph.conv(x, inner, inner * 4, 1, gain=0.5)
            if repeat == 0:
                before = graph.conv(before, width, inner * 4, 1, stride=stride, gain=1.0)
            x, width = relu(graph.node("Add", x, before)), inner * 4
    graph.classes(x, width)
    return graph.model([("x", TensorProto.FLOAT, ["batch", 3, 224, 224])],
                       [("logits", TensorProto.FLOAT, ["batch", 1000])])


def minilm(layers=6, hidden=384, heads=12, inner=1536, vocabulary=30522, positions=512):
    """The layout of all-MiniLM-L6-v2: a BERT of six layers, then the mean over a sentence's words."""
    graph = Graph("minilm")
    ints = lambda *values: graph.constant(np.array(values, dtype=np.int64))
    number = lambda value: graph.constant(np.float32(value))

    def norm(x):
        scale = graph.constant(np.ones(hidden, dtype=np.float32))
        shift = graph.normal(hidden, deviation=0.02)
        return graph.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)

    words = graph.node("Gather", graph.normal(vocabulary, hidden, deviation=0.5), "input_ids")
    length = graph.node("Gather", graph.node("Shape", "input_ids"), graph.constant(np.int64(1)))
    places = graph.node("Slice", graph.normal(positions, hidden, deviation=0.5), ints(0),
                        graph.node("Unsqueeze", length, ints(0)), ints(0))
    x = graph.node("Add", graph.node("Add", words, places), graph.normal(hidden, deviation=0.02))
    x = norm(x)
    mask = graph.cast("attention_mask", TensorProto.FLOAT)
    hidden_mask = graph.node("Mul", graph.node("Sub", number(1), graph.node("Unsqueeze", mask, ints(1, 2))),
                             number(-10000))
    split = lambda x: graph.node("Reshape", x, ints(0, 0, heads, hidden // heads))
    for _ in range(layers):
        query = graph.node("Transpose", split(graph.linear(x, hidden, hidden)), perm=[0, 2, 1, 3])
        key = graph.node("Transpose", split(graph.linear(x, hidden, hidden)), perm=[0, 2, 3, 1])
        value = graph.node("Transpose", split(graph.linear(x, hidden, hidden)), perm=[0, 2, 1, 3])
        scores = graph.node("Div", graph.node("MatMul", query, key), number(math.sqrt(hidden / heads)))
        weights = graph.node("Softmax", graph.node("Add", scores, hidden_mask), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        mixed = graph.linear(graph.node("Reshape", mixed, ints(0, 0, hidden)), hidden, hidden)
        x = norm(graph.node("Add", mixed, x))
        wide = graph.linear(x, hidden, inner)
        # GELU as exporters write it, which ONNX Runtime makes one node of.
        error = graph.node("Erf", graph.node("Div", wide, number(math.sqrt(2))))
        wide = graph.node("Mul", graph.node("Mul", wide, graph.node("Add", error, number(1))), number(0.5))
        x = norm(graph.node("Add", graph.linear(wide, inner, hidden), x))
    graph.node("Identity", x, to="last_hidden_state")
    kept = graph.node("Unsqueeze", mask, ints(2))
    total = graph.node("ReduceSum", graph.node("Mul", x, kept), ints(1), keepdims=0)
    count = graph.node("Max", graph.node("ReduceSum", kept, ints(1), keepdims=0), number(1e-9))
    graph.node("LpNormalization", graph.node("Div", total, count), to="sentence_embedding", axis=1, p=2)
    sequence = ["batch", "sequence"]
    return graph.model([("input_ids", TensorProto.INT64, sequence), ("attention_mask", TensorProto.INT64, sequence)],
                       [("last_hidden_state", TensorProto.FLOAT, [*sequence, hidden]),
                        ("sentence_embedding", TensorProto.FLOAT, ["batch", hidden])])


def forest():
    """scikit-learn's random forest of 100 trees, through its usual converter."""
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = make_classification(2000, 16, n_informative=8, n_classes=3, random_state=20)
    trees = RandomForestClassifier(100, max_depth=8, random_state=20).fit(rows, labels)
    return to_onnx(trees, rows[:1].astype(np.float32), target_opset={"": OPSET, "ai.onnx.ml": 3},
                   options={"zipmap": False})


MODELS = {make.__name__: make for make in [tiny, mlp, forest, picture, mobilenetv2, resnet50, minilm]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", metavar="NAME", nargs="*", help=f"of {', '.join(MODELS)}; default: all")
    target = pathlib.Path(__file__).resolve().parent.parent / "target" / "bench-models"
    arguments.add_argument("--to", type=pathlib.Path, default=target)
    chosen = arguments.parse_args()
    for name in chosen.models or MODELS:
        if name not in MODELS:
            sys.exit(f"unknown model {name}: expected one of {', '.join(MODELS)}")
        file = chosen.to / name / "1" / "model.onnx"
        if file.exists():
            print(f"{file}: is there")
            continue
        try:
            model = MODELS[name]()
        except ImportError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        onnx.save_model(model, part)
        part.rename(file)
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
