"""Compares what Hedef finds in the grid of a YOLOv2 with NumPy, on models like Custom Vision's older compact exports.

    python custom_vision.py make FOLDER     # the models
    python custom_vision.py ask URL         # sends images to a server of FOLDER, and compares

A model is one convolution whose kernel is as large as a place of the grid, so that its output depends on the image and NumPy can
compute it too. Images have the size of the input: nothing is resized.
"""

import io
import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

SIDE, GRID, CLASSES = 416, 13, 3
CUSTOM_VISION = [[0.573, 0.677], [1.87, 2.06], [3.34, 5.47], [7.88, 3.53], [9.77, 9.17]]
OWN = [[1.5, 2.0], [4.0, 3.0]]
LABELS = ["apple", "banana", "cherry"]

# The number type, the anchors, the settings, the least score, the largest overlap, and how far Hedef may be off.
MODELS = {
    "whole": (np.float32, CUSTOM_VISION, "", 0.25, 0.45, 1e-4),
    "half": (np.float16, CUSTOM_VISION, "", 0.25, 0.45, 2e-3),
    "strict": (np.float32, CUSTOM_VISION, "threshold = 0.1\nmax_overlap = 0.1", 0.1, 0.1, 1e-4),
    "own": (np.float32, OWN, f"anchors = {OWN}\nthreshold = 0.4\nmax_overlap = 0.3", 0.4, 0.3, 1e-4),
}


def weights(anchors):
    """Returns the kernels and the biases of the convolution."""
    random = np.random.default_rng(len(anchors))
    place = SIDE // GRID
    channels = len(anchors) * (5 + CLASSES)
    kernels = random.normal(0, 1.5 / (place * 74 * np.sqrt(3)), (channels, 3, place, place)).astype(np.float32)
    # The sizes of boxes stay near their anchors.
    sizes = np.arange(channels) % (5 + CLASSES)
    kernels[(sizes == 2) | (sizes == 3)] *= 0.3
    biases = random.normal(0, 0.3, channels).astype(np.float32)
    return kernels, biases


def make(folder):
    """Writes the models."""
    for name, (number, anchors, settings, *_) in MODELS.items():
        kernels, biases = weights(anchors)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(number))
        place = SIDE // GRID
        nodes = [
            helper.make_node("Cast", ["data"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["pixels", "kernels", "biases"], ["grid"], strides=[place, place]),
            helper.make_node("Cast", ["grid"], ["model_outputs0"], to=kind),
        ]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("data", kind, ["batch", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("model_outputs0", kind, ["batch", len(biases), GRID, GRID])],
            [onnx.numpy_helper.from_array(kernels, "kernels"), onnx.numpy_helper.from_array(biases, "biases")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        file = folder / name / "1" / "model.onnx"
        file.parent.mkdir(parents=True)
        onnx.save(model, file)
        (file.parent.parent / "labels.txt").write_text("\n".join(LABELS) + "\n")
        (file.parent.parent / "model.toml").write_text(f'[image]\nlabels = "labels.txt"\ntop = 1000\n{settings}\n')


def sigmoid(x):
    """Returns the logistic function."""
    return 1 / (1 + np.exp(-x))


def expected(name, pixels):
    """Returns what is to be found on pixels: class, confidence, left, top, width and height of each."""
    number, anchors, _, threshold, most_common, _ = MODELS[name]
    kernels, biases = weights(anchors)
    place = SIDE // GRID
    # Blue, green, red, from 0 to 255.
    planes = pixels[:, :, ::-1].transpose(2, 0, 1).astype(number).astype(np.float64)
    blocks = planes.reshape(3, GRID, place, GRID, place)
    grid = np.einsum("cyhxw,kchw->kyx", blocks, kernels.astype(np.float64)) + biases[:, None, None]
    grid = grid.astype(number).astype(np.float64).reshape(len(anchors), 5 + CLASSES, GRID, GRID)
    found = []
    for anchor, (wide, high) in enumerate(anchors):
        for row in range(GRID):
            for column in range(GRID):
                x, y, width, height, anything, *classes = grid[anchor, :, row, column]
                classes = np.exp(classes) / np.exp(classes).sum()
                x, y = (column + sigmoid(x)) / GRID, (row + sigmoid(y)) / GRID
                width, height = np.exp(width) * wide / GRID, np.exp(height) * high / GRID
                for label, score in zip(LABELS, classes * sigmoid(anything)):
                    if score >= threshold:
                        found.append((label, score, x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    kept = []
    for candidate in sorted(found, key=lambda candidate: -candidate[1]):
        if all(other[0] != candidate[0] or overlap(other[2:], candidate[2:]) <= most_common for other in kept):
            kept.append(candidate)
    for label, score, *edges in kept:
        left, top, right, bottom = np.clip(edges, 0, 1)
        yield label, score, left, top, right - left, bottom - top


def overlap(one, other):
    """Returns the intersection of two boxes over their union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return both / (sum(areas) - both)


def ask(url):
    """Compares; returns the exit code."""
    asked, boxes, failures = 0, 0, 0
    for name, (*_, tolerance) in MODELS.items():
        for seed in range(3):
            pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            body = io.BytesIO()
            Image.fromarray(pixels, "RGB").save(body, "PNG")
            headers = {"content-type": "image/png", "azureml-model-deployment": name}
            with urllib.request.urlopen(urllib.request.Request(f"{url}/score", body.getvalue(), headers), timeout=60) as answer:
                inferences = json.load(answer)["inferences"]
            found = []
            for entity in (inference["entity"] for inference in inferences):
                box = [entity["box"][side] for side in "ltwh"]
                found.append((entity["tag"]["value"], entity["tag"]["confidence"], *box))
            wanted = list(expected(name, pixels))
            asked, boxes = asked + 1, boxes + len(wanted)
            # Those that are equally sure may stand in another order.
            near = lambda one, other: one[0] == other[0] and np.allclose(one[1:], other[1:], rtol=0, atol=tolerance)
            same = len(found) == len(wanted) and all(any(near(one, other) for one in found) for other in wanted)
            if not same:
                failures += 1
                print(f"FAILED {name}, {seed}: {len(found)} boxes, expected {len(wanted)}: {found[:3]}, {wanted[:3]}")
    print(f"{asked} images, {boxes} boxes, {failures} failures")
    return 1 if failures or not boxes else 0


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        sys.exit(ask(sys.argv[2]))
    make(Path(sys.argv[2]))
