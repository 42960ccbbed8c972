"""Compares a server's answers for the sample models with ONNX Runtime in Python and with the golden files.

    hedef serve models                                                        # (by the caller)
    python reference.py --url http://127.0.0.1:PORT --repository models/

Every model gets the same random inputs in both places, in batches of several sizes, as JSON and as
bytes. The golden files hold the answers of the library that trained the model. Prints a line per
model; the exit code is 1 if an answer is off.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from oip import DTYPES, Client, Refused, decode, from_json, objects
from onnx_cases import compare_arrays

SEED = 7
# The same library in both places: only the order of additions may differ.
SAME = {"rtol": 1e-5, "atol": 1e-6}
DATATYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(int64)": "INT64", "tensor(string)": "BYTES"}
# Letters of several scripts, and what JSON has to escape.
ALPHABET = list("abcdefghijklmnopqrstuvwxyzçğışöüéèñßåøžABC .,'\"\\/\n\té漢字🙂")


def main():
    """Checks every model of the repository."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="http://HOST:PORT of a server that serves the repository")
    parser.add_argument("--repository", type=Path, required=True, help="the folder of the sample models")
    parser.add_argument("--inputs", type=int, default=200, help="random rows for each model (default 200)")
    arguments = parser.parse_args()
    client = Client(arguments.url)
    folders = sorted(path.parent for path in arguments.repository.glob("*/model.toml"))
    failures = 0
    for folder in folders:
        problems = random_inputs(client, folder, arguments.inputs) + golden_files(client, folder)
        failures += len(problems)
        for problem in problems[:5]:
            print(f"FAILED {folder.name}: {problem}")
        if not problems:
            print(f"ok {folder.name}")
    print(f"{len(folders)} models, {failures} failures")
    sys.exit(1 if failures or not folders else 0)


def random_inputs(client, folder, count):
    """Returns where the server and ONNX Runtime in Python answer random inputs differently."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    versions = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    model = folder / str(max(versions)) / "model.onnx"
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    random, problems, rows = np.random.default_rng(SEED), [], 0
    while rows < count:
        batch = min(int(random.choice([1, 1, 1, 2, 7, 32])), count - rows)
        rows += batch
        feeds = {one.name: (DATATYPES[one.type], values(random, one, batch)) for one in session.get_inputs()}
        wanted = session.run(None, {name: array for name, (_, array) in feeds.items()})
        wanted = {one.name: unzipped(value) for one, value in zip(session.get_outputs(), wanted)}
        for binary in (True, False):
            where = f"{batch} rows as {'bytes' if binary else 'JSON'}"
            try:
                problems += differences(where, wanted, client.infer(folder.name, feeds, binary=binary), SAME)
            except Refused as refused:
                problems.append(f"{where}: refused with {refused}")
    return problems


def values(random, declared, rows):
    """Returns random values for a declared input; its free axes get `rows`."""
    shape = [axis if isinstance(axis, int) else rows for axis in declared.shape]
    datatype, count = DATATYPES[declared.type], int(np.prod(shape))
    if datatype == "BYTES":
        return objects(["".join(random.choice(ALPHABET, size=random.integers(1, 80))) for _ in range(count)], shape)
    return (random.standard_normal(shape) * random.choice([0.05, 1, 10])).astype(DTYPES[datatype])


def unzipped(value):
    """Returns a ZipMap output (a list of maps, one per row) as the matrix that v2 carries."""
    if isinstance(value, list):
        return np.array([list(row.values()) for row in value], np.float32)
    return value


def golden_files(client, folder):
    """Returns where the server and the golden answers differ; the request goes out as it is in the file."""
    problems = []
    files = sorted((folder / "golden").glob("*.json"))
    for file in files:
        golden = json.loads(file.read_text("utf-8"))
        wanted = {
            one["name"]: from_json(one["datatype"], one["data"], one["shape"]) for one in golden["response"]["outputs"]
        }
        body = json.dumps(golden["request"]).encode()
        try:
            headers = {"Content-Type": "application/json"}
            answer = decode(*client.call("POST", f"/v2/models/{folder.name}/infer", body, headers))
        except Refused as refused:
            problems.append(f"{file.name}: refused with {refused}")
            continue
        problems += differences(file.name, wanted, answer, {"rtol": golden["rtol"], "atol": golden["atol"]})
    return problems if files else ["no golden files"]


def differences(where, wanted, answer, tolerances):
    """Returns the outputs that differ, in words."""
    if list(wanted) != list(answer):
        return [f"{where}: expected the outputs {list(wanted)}, got {list(answer)}"]
    found = {name: compare_arrays(array, answer[name][1], **tolerances) for name, array in wanted.items()}
    return [f"{where}, output `{name}`: {difference}" for name, difference in found.items() if difference]


if __name__ == "__main__":
    main()
