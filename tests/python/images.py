"""Compares what Hedef makes of images with Pillow and NumPy.

    python images.py make FOLDER     # models whose answers are the tensors that images became
    python images.py ask URL         # sends images of many kinds to a server of FOLDER, and compares
    python images.py seeds FOLDER    # writes small images of many kinds: what fuzz/seeds/image_decode holds

The models give each element of their input as the score of a class, so that a classification of all classes is the tensor.
The reference resizes with Pillow's BILINEAR, which rounds to whole values after each of its two passes: a value of Hedef's may
differ by one. Two JPEG decoders may differ further in colours that were stored in half the resolution.
"""

import io
import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image, ImageOps

WIDTH, HEIGHT = 20, 12
MEAN, STD = (0.1, 0.2, 0.3), (2.0, 3.0, 4.0)
# Values of 0 to 255: the largest difference, and the mean.
LOSSLESS, LOSSY = (1.01, 0.4), (24.0, 1.5)

MODELS = {
    "planes": ([1, 3, HEIGHT, WIDTH], TensorProto.FLOAT, 'resize = "stretch"'),
    "pixels": (["batch", HEIGHT, WIDTH, 3], TensorProto.UINT8, 'color = "bgr"'),
    "grey": ([1, 1, HEIGHT, WIDTH], TensorProto.FLOAT, ""),
    "boxed": (["batch", 3, "h", "w"], TensorProto.FLOAT, f'width = {WIDTH}\nheight = {HEIGHT}\nresize = "letterbox"'),
    "scaled": ([3, HEIGHT, WIDTH], TensorProto.FLOAT, f"mean = {list(MEAN)}\nstd = {list(STD)}"),
}


def make(folder):
    """Writes the models."""
    for name, (shape, data_type, settings) in MODELS.items():
        nodes, flowing = [], "image"
        if data_type == TensorProto.UINT8:
            nodes.append(helper.make_node("Cast", [flowing], ["number"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Div", ["number", "white"], ["part"]))
            flowing = "part"
        if name == "scaled":
            # Scores are from 0 to 1.
            nodes.append(helper.make_node("Add", [flowing, "half"], ["above"]))
            flowing = "above"
        nodes.append(helper.make_node("Reshape", [flowing, "row"], ["scores"]))
        count = WIDTH * HEIGHT * (1 if name == "grey" else 3)
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("image", data_type, shape)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, count])],
            [
                helper.make_tensor("row", TensorProto.INT64, [2], [1, -1]),
                helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
                helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        file = folder / name / "1" / "model.onnx"
        file.parent.mkdir(parents=True)
        onnx.save(model, file)
        (file.parent.parent / "model.toml").write_text(f"[image]\ntop = 65535\n{settings}\n")


def scene(width, height):
    """Returns an image with gradients, edges and some texture."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / max(width - 1, 1)
    green = 255 * y / max(height - 1, 1)
    blue = 127 + 100 * np.sin(x / 5.0) * np.cos(y / 7.0)
    pixels = np.stack([red, green, blue], axis=-1)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 40)
    return Image.fromarray(np.rint(pixels).astype(np.uint8), "RGB")


def encoded(image, kind, **options):
    """Returns the bytes of an image file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def images():
    """Yields for each image its name, its bytes, and how far Hedef may be off."""
    for width, height in [(WIDTH, HEIGHT), (160, 120), (33, 47), (7, 5), (1, 1), (300, 9)]:
        image = scene(width, height)
        yield f"png {width}x{height}", encoded(image, "PNG"), LOSSLESS
        yield f"jpeg {width}x{height}", encoded(image, "JPEG", quality=95, subsampling=0), LOSSY
    image = scene(160, 120)
    for mode in ["L", "P", "1", "RGBA", "LA"]:
        yield f"png {mode}", encoded(image.convert(mode), "PNG"), LOSSLESS
    yield "png of 16 bits", encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"), LOSSLESS
    yield "png optimised", encoded(image, "PNG", optimize=True), LOSSLESS
    for name, options in [
        ("4:2:0", {"subsampling": 2}),
        ("4:2:2", {"subsampling": 1}),
        ("progressive", {"progressive": True}),
        ("progressive 4:4:4", {"progressive": True, "subsampling": 0}),
        ("restarts", {"restart_marker_blocks": 3}),
        ("optimised", {"optimize": True}),
        ("of low quality", {"quality": 20}),
    ]:
        yield f"jpeg {name}", encoded(image, "JPEG", **{"quality": 90, **options}), LOSSY
    yield "jpeg grey", encoded(image.convert("L"), "JPEG", quality=95), LOSSY
    yield "jpeg grey progressive", encoded(image.convert("L"), "JPEG", quality=95, progressive=True), LOSSY
    yield "jpeg CMYK", encoded(image.convert("CMYK"), "JPEG", quality=95), LOSSY
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"jpeg turned {orientation}", encoded(image, "JPEG", quality=95, subsampling=0, exif=exif), LOSSY
        yield f"png turned {orientation}", encoded(image, "PNG", exif=exif), LOSSLESS


def seeds(folder):
    """Writes small images of many kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    image = scene(17, 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "black.png": encoded(Image.new("L", (8, 8)), "PNG"),
        "turned.png": encoded(image, "PNG", exif=exif),
        "sixteen.png": encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
        "turned.jpg": encoded(image, "JPEG", exif=exif),
        "halved.jpg": encoded(image, "JPEG", subsampling=2),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "restarts.jpg": encoded(image, "JPEG", restart_marker_blocks=1),
        "grey.jpg": encoded(image.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
    }
    files |= {f"{mode.lower()}.png": encoded(image.convert(mode), "PNG") for mode in ["RGB", "P", "1", "RGBA", "LA"]}
    for name, file in files.items():
        (folder / name).write_bytes(file)


def expected(model, file):
    """Returns the tensor that Pillow and NumPy make of an image, in values of 0 to 255."""
    image = Image.open(io.BytesIO(file))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = ImageOps.exif_transpose(image).convert("RGB")
    if model == "grey":
        image = image.convert("L")
    if model == "boxed":
        part = min(WIDTH / image.width, HEIGHT / image.height)
        size = [max(int(side * part + 0.5), 1) for side in image.size]
        boxed = Image.new("RGB", (WIDTH, HEIGHT), (114, 114, 114))
        boxed.paste(image.resize(size, Image.Resampling.BILINEAR), ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
        image = boxed
    pixels = np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR), np.float64)
    if model == "pixels":
        return pixels[:, :, ::-1].ravel()
    if model == "grey":
        return pixels.ravel()
    planes = pixels.transpose(2, 0, 1)
    if model == "scaled":
        scaled = (planes / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1)) + 0.5
        planes = 255 * scaled
    return planes.ravel()


def ask(url):
    """Compares; returns the exit code."""
    asked, failures = 0, 0
    for model in MODELS:
        for name, file, (most, mean) in images():
            media = "image/png" if file.startswith(b"\x89PNG") else "image/jpeg"
            headers = {"content-type": media, "azureml-model-deployment": model}
            request = urllib.request.Request(f"{url}/score", file, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                inferences = json.load(answer)["inferences"]
            wanted = expected(model, file)
            found = np.full(wanted.shape, np.nan)
            for inference in inferences:
                tag = inference["classification"]["tag"]
                found[int(tag["value"])] = 255 * tag["confidence"]
            difference = np.abs(found - wanted)
            asked += 1
            # NaN is a failure too.
            if not (difference.max() <= most and difference.mean() <= mean):
                failures += 1
                print(f"FAILED {model}, {name}: off by {difference.max():.2f}, {difference.mean():.2f} in the mean")
    print(f"{asked} images, {failures} failures")
    return 1 if failures or not asked else 0


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        sys.exit(ask(sys.argv[2]))
    {"make": make, "seeds": seeds}[sys.argv[1]](Path(sys.argv[2]))
