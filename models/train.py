"""Trains the sample models of this folder and writes their model packages.

    python3 -m venv VENV && VENV/bin/pip install -r models/requirements.txt
    VENV/bin/python models/train.py            # trains, writes the packages, prints the scores
    VENV/bin/python models/train.py --check    # does the committed package still answer as trained?

All data ships inside the pinned packages, nothing is downloaded. Seeds are fixed, so the same
pins on the same processor give the same files; another BLAS may change the last bits.

The golden answers come from scikit-learn itself, in double precision, not from ONNX Runtime: they
also catch a conversion that went wrong. Their tolerances cover single precision, nothing more.
"""

import argparse
import gettext
import json
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
SEED = 7
OPSET = 17
IR_VERSION = 8
RTOL, ATOL = 1e-4, 1e-5

LANGUAGES = {
    "Czech": "cs",
    "Dutch": "nl",
    "English": None,
    "Finnish": "fi",
    "French": "fr",
    "German": "de",
    "Hungarian": "hu",
    "Italian": "it",
    "Polish": "pl",
    "Portuguese": "pt",
    "Spanish": "es",
    "Swedish": "sv",
    "Turkish": "tr",
}


def main():
    """Trains or checks, and exits non-zero when an answer is off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the committed packages with their golden files")
    if parser.parse_args().check:
        sys.exit(check())
    for train in (train_digits, train_iris, train_language, train_diabetes):
        train()
    sys.exit(check())


# ---------------------------------------------------------------------------------------- models


def train_digits():
    """Writes `digits`: which digit is on an 8x8 image; a graph written by hand from an MLP's weights."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images, digits, test_size=0.25, random_state=SEED, stratify=digits)
    train_images, test_images, train_digits_, test_digits = split
    mlp = MLPClassifier(hidden_layer_sizes=(64, 32), alpha=1e-2, max_iter=400, random_state=SEED)
    # The graph divides by 16 as well: callers send the pixels as they are, 0 to 16.
    mlp.fit(train_images / 16, train_digits_)
    score("digits", "right on held-out images", mlp.score(test_images / 16, test_digits))

    nodes = [helper.make_node("Div", ["image", "white"], ["scaled"], name="scale")]
    weights = {"white": np.array(16, np.float32)}
    flowing = "scaled"
    for layer, (kernel, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_), start=1):
        # Weights of pixels that are always black decay into denormals, which processors are slow at.
        kernel[np.abs(kernel) < 1e-6] = 0
        weights[f"dense{layer}.weight"] = kernel.astype(np.float32)
        weights[f"dense{layer}.bias"] = bias.astype(np.float32)
        dense = [flowing, f"dense{layer}.weight", f"dense{layer}.bias"]
        nodes.append(helper.make_node("Gemm", dense, [f"dense{layer}"], name=f"dense{layer}"))
        flowing = f"dense{layer}"
        if layer < len(mlp.coefs_):
            nodes.append(helper.make_node("Relu", [flowing], [f"relu{layer}"], name=f"relu{layer}"))
            flowing = f"relu{layer}"
    nodes.append(helper.make_node("Softmax", [flowing], ["probabilities"], name="softmax", axis=-1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    package = Package("digits", model)
    package.toml(
        "Which digit is on an image? 64 grey values from 0 (black) to 16 (white), row by row.",
        labels={"probabilities": [str(digit) for digit in mlp.classes_]},
        # An image's values go up to 255.
        image={"width": 8, "height": 8, "scale": round(16 / 255, 7)},
    )

    def answer(rows):
        return [fp32("probabilities", mlp.predict_proba(rows / 16))]

    package.golden("one-image", [fp32("image", test_images[:1])], answer(test_images[:1]))
    package.png("one", test_images[0].reshape(8, 8) * 255 / 16)
    package.golden("eight-images", [fp32("image", test_images[8:16])], answer(test_images[8:16]))
    blank = np.zeros((1, 64))
    package.golden("blank-image", [fp32("image", blank)], answer(blank))


def train_iris():
    """Writes `iris`: the converter's default export, so its probabilities are a sequence of maps (ZipMap)."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris = load_iris()
    names = iris.target_names[iris.target].astype(str)
    split = train_test_split(iris.data, names, test_size=1 / 3, random_state=SEED, stratify=names)
    train_rows, test_rows, train_names, test_names = split
    classifier = make_pipeline(StandardScaler(), LogisticRegression(random_state=SEED))
    classifier.fit(train_rows, train_names)
    score("iris", "right on held-out flowers", classifier.score(test_rows, test_names))

    model = to_onnx(classifier, initial_types=[("features", FloatTensorType([None, 4]))], target_opset=OPSET)
    rename_outputs(model, ["label", "probabilities"])
    package = Package("iris", model)
    package.toml("Which iris is it? Sepal length and width, petal length and width, in centimetres.")

    def answer(rows):
        return [text("label", classifier.predict(rows)), fp32("probabilities", classifier.predict_proba(rows))]

    package.golden("one-flower", [fp32("features", test_rows[:1])], answer(test_rows[:1]))
    package.golden("seven-flowers", [fp32("features", test_rows[10:17])], answer(test_rows[10:17]))
    rows = test_rows[20:22]
    package.golden("probabilities-only", [fp32("features", rows)], answer(rows)[1:], wanted=["probabilities"])
    odd = np.array([[0, 0, 0, 0], [10, 0.1, 10, 0.1]])
    package.golden("far-from-any-flower", [fp32("features", odd)], answer(odd))


def train_language():
    """Writes `language`: which language is a sentence in? Strings in, strings and probabilities out."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train_set, test_set = translated_sentences()
    # lowercase=False: otherwise the export holds a StringNormalizer, which asks for the locale
    # en_US.UTF-8, and slim images have none.
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), max_features=3000, lowercase=False)
    classifier = make_pipeline(vectorizer, LogisticRegression(C=30, max_iter=500, random_state=SEED))
    classifier.fit(*train_set)
    score("language", f"right on {len(test_set[0])} held-out sentences", classifier.score(*test_set))

    model = to_onnx(
        classifier,
        initial_types=[("text", StringTensorType([None, 1]))],
        target_opset=OPSET,
        options={LogisticRegression: {"zipmap": False}},
    )
    rename_outputs(model, ["language", "probabilities"])
    package = Package("language", model)
    package.toml(
        "Which language is a sentence in? One of " + ", ".join(LANGUAGES) + ".",
        labels={"probabilities": list(classifier.classes_)},
    )

    def golden(name, sentences):
        answer = [
            text("language", classifier.predict(sentences)),
            fp32("probabilities", classifier.predict_proba(sentences)),
        ]
        package.golden(name, [text("text", sentences, shape=[len(sentences), 1])], answer)

    golden("turkish", ["Yarın sabah erkenden yola çıkacağız."])
    golden("held-out", test_set[0][:: len(test_set[0]) // 12][:12])
    golden("quotes-and-newline", ['Er sagte: "Das \\ ist\tgut."\nDann ging er.'])
    golden("other-script", ["これは日本語です。", "x"])


def train_diabetes():
    """Writes `diabetes`: a regression, the progress of the disease after a year."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.model_selection import train_test_split

    rows, progression = load_diabetes(return_X_y=True)
    # In single precision, as callers send them, so that no row falls on the other side of a split.
    rows = rows.astype(np.float32)
    train_rows, test_rows, train_y, test_y = train_test_split(rows, progression, test_size=0.25, random_state=SEED)
    forest = GradientBoostingRegressor(
        n_estimators=100, learning_rate=0.05, max_depth=2, subsample=0.5, random_state=SEED
    )
    forest.fit(train_rows, train_y)
    score("diabetes", "R² on held-out patients", forest.score(test_rows, test_y))

    model = to_onnx(forest, initial_types=[("features", FloatTensorType([None, 10]))], target_opset=OPSET)
    rename_outputs(model, ["progression"])
    package = Package("diabetes", model)
    package.toml(
        "How far will diabetes progress in a year? Age, sex, body mass index, blood pressure and six "
        "blood serum values, each centred and scaled as in scikit-learn's data set."
    )

    def golden(name, some):
        package.golden(name, [fp32("features", some)], [fp32("progression", forest.predict(some)[:, None])])

    golden("one-patient", test_rows[:1])
    golden("nine-patients", test_rows[5:14])
    golden("average-patient", np.zeros((1, 10), np.float32))


def translated_sentences():
    """Returns ((sentences, languages) to train on, the same to test on) from Django's catalogues.

    The split is by message: all translations of a held-out message are held out, so the test has
    no sentence whose sister in another language was seen. Messages that read the same in two
    languages (names, "Admin") have no right answer and are left out.
    """
    import django

    root = Path(django.__file__).parent
    catalogues = {name: {} for name in LANGUAGES}
    for name, locale in LANGUAGES.items():
        for path in sorted(root.glob(f"**/locale/{locale or 'de'}/LC_MESSAGES/django.mo")):
            with path.open("rb") as file:
                messages = gettext.GNUTranslations(file)._catalog
            for key, translated in messages.items():
                key = key[0] if isinstance(key, tuple) else key
                sentence = plain(key if locale is None else translated)
                if key and len(sentence) >= 12:
                    catalogues[name].setdefault(key, sentence)
    seen = {}
    for name, sentences in catalogues.items():
        for sentence in sentences.values():
            seen.setdefault(sentence, set()).add(name)
    keys = sorted({key for sentences in catalogues.values() for key in sentences})
    held_out = {keys[at] for at in np.random.default_rng(SEED).permutation(len(keys))[: len(keys) // 4]}
    train_set, test_set = ([], []), ([], [])
    for key in keys:
        for name, sentences in catalogues.items():
            sentence = sentences.get(key)
            if sentence and len(seen[sentence]) == 1:
                chosen = test_set if key in held_out else train_set
                chosen[0].append(sentence)
                chosen[1].append(name)
    return train_set, test_set


def plain(message):
    """Returns a message without placeholders, markup and surplus space, and without its gettext context."""
    message = message.split("\x04")[-1]
    message = re.sub(r"%(\(\w+\))?[a-z]|\{[^}]*\}|<[^>]*>|&\w+;", " ", message)
    return " ".join(message.split())


# -------------------------------------------------------------------------------------- packages


class Package:
    """One model package on disk, written file by file."""

    def __init__(self, name, model):
        """Writes the model file; its first axes get the name `batch`."""
        self.name = name
        self.folder = HERE / name
        model.ir_version = IR_VERSION
        model.producer_name, model.producer_version, model.doc_string = "hedef models/train.py", "", ""
        for value in [*model.graph.input, *model.graph.output]:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
        versions = {opset.domain: opset.version for opset in model.opset_import}
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(domain, versions[domain]) for domain in sorted(versions))
        onnx.checker.check_model(model)
        file = self.folder / "1" / "model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(model.SerializeToString(deterministic=True))
        golden = self.folder / "golden"
        golden.mkdir(exist_ok=True)
        for old in golden.glob("*.json"):
            old.unlink()

    def toml(self, description, labels=None, image=None):
        """Writes model.toml, and one labels file per labelled output."""
        lines = [f"description = {json.dumps(description, ensure_ascii=False)}"]
        if labels:
            lines += ["", "[labels]"]
        for output, names in (labels or {}).items():
            lines.append(f'{output} = "labels.txt"')
            (self.folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
        if image:
            lines += ["", "[image]", *(f"{key} = {value}" for key, value in image.items())]
        (self.folder / "model.toml").write_text("\n".join(lines) + "\n", "utf-8")

    def golden(self, name, inputs, outputs, wanted=None):
        """Writes one request and the answer that the training library gives to it."""
        request = {"inputs": inputs}
        if wanted:
            request["outputs"] = [{"name": output} for output in wanted]
        # The request on a line of its own: it can be pasted after `curl --data`.
        lines = [f'"request": {in_json(request)}', f'"response": {in_json({"outputs": outputs})}']
        lines.append(f'"rtol": {RTOL}, "atol": {ATOL}')
        (self.folder / "golden" / f"{name}.json").write_text("{" + ",\n ".join(lines) + "}\n", "utf-8")


    def png(self, name, values):
        """Writes grey values, 0 to 255, as an image."""
        rows = np.rint(values).astype(np.uint8)
        height, width = rows.shape
        parts = [
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            # Each row begins with its filter: none.
            (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)),
            (b"IEND", b""),
        ]
        chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
        (self.folder / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def in_json(value):
    """Returns JSON with accents as they are, on one line."""
    return json.dumps(value, ensure_ascii=False)


def fp32(name, values):
    """Returns an FP32 tensor in the JSON form of the Open Inference Protocol."""
    values = np.asarray(values)
    # Nine digits bring every single-precision value back bit for bit.
    data = [float(f"{value:.9g}") for value in values.ravel()]
    return {"name": name, "shape": list(values.shape), "datatype": "FP32", "data": data}


def text(name, values, shape=None):
    """Returns a BYTES tensor in the JSON form of the Open Inference Protocol."""
    data = [str(value) for value in values]
    return {"name": name, "shape": shape or [len(data)], "datatype": "BYTES", "data": data}


def rename_outputs(model, names):
    """Gives the converter's outputs the names that callers will see."""
    renamed = {name: f"inner_{name}" for name in names}
    renamed |= {value.name: name for value, name in zip(model.graph.output, names, strict=True)}
    for value in model.graph.output:
        value.name = renamed[value.name]
    for node in model.graph.node:
        node.output[:] = [renamed.get(output, output) for output in node.output]
        node.input[:] = [renamed.get(source, source) for source in node.input]


def score(name, what, value):
    """Prints a held-out score; README.md records it."""
    print(f"{name}: {value:.4f} {what}")


# ----------------------------------------------------------------------------------------- check


def check():
    """Compares every package with its golden files through ONNX Runtime; returns the exit code."""
    import onnxruntime

    failures = 0
    for folder in sorted(path.parent for path in HERE.glob("*/model.toml")):
        model = folder / "1" / "model.onnx"
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        files = sorted((folder / "golden").glob("*.json"))
        for file in files:
            golden = json.loads(file.read_text("utf-8"))
            worst = worst_difference(session, golden)
            if worst > 1:
                failures += 1
                print(f"{file.relative_to(HERE)}: off by {worst:.3g} times the tolerance")
        print(f"{folder.name}: {len(files)} golden files, model file {model.stat().st_size:,} bytes")
    return 1 if failures else 0


def worst_difference(session, golden):
    """Returns the largest difference between a golden answer and ONNX Runtime's, in tolerances."""
    feeds = {}
    for tensor in golden["request"]["inputs"]:
        dtype = object if tensor["datatype"] == "BYTES" else np.float32
        feeds[tensor["name"]] = np.array(tensor["data"], dtype).reshape(tensor["shape"])
    worst = 0.0
    for expected in golden["response"]["outputs"]:
        (found,) = session.run([expected["name"]], feeds)
        if isinstance(found, list):  # ZipMap: one map per row
            found = np.array([list(row.values()) for row in found])
        if list(found.shape) != expected["shape"]:
            return np.inf
        if expected["datatype"] == "BYTES":
            worst = max(worst, 0.0 if found.ravel().tolist() == expected["data"] else np.inf)
        else:
            wanted = np.array(expected["data"]).reshape(expected["shape"])
            allowed = golden["atol"] + golden["rtol"] * np.abs(wanted)
            worst = max(worst, float(np.max(np.abs(found - wanted) / allowed)))
    return worst


if __name__ == "__main__":
    main()
