"""Runs the backend tests of the `onnx` package through a server that speaks the Open Inference Protocol.

    python backend_tests.py prepare --models DIR            # lays the cases out as a model repository
    hedef serve DIR --model-control explicit                # (by the caller)
    python backend_tests.py run --url http://127.0.0.1:PORT [--json] [--sample N] [--report FILE]

A case is loaded, asked and unloaded. Its answer is compared with that of ONNX Runtime in Python:

    passed   the server answers as ONNX Runtime in Python does (where that one cannot load or run
             the model: as the ONNX standard demands)
    refused  the server declines, at load or at the request, and its reason is printed
    failed   the server answers something else, or not at all

What ONNX Runtime in Python answers rightly is the bar: the exit code is 1 if such a case did not
pass, or if any case failed. Cases that draw random numbers are compared by type and shape alone.
Cases with sequences, optionals or element types that v2 lacks have to be refused.

Both sides must run alike: give the server and this script the same locales, and the same
ALLOW_RELEASED_ONNX_OPSET_ONLY if it is set (ONNX Runtime reads it; 0 admits the newest opset).
"""

import argparse
import http.client
import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

from oip import DATATYPES, Client, Refused
from onnx_cases import compare, compare_arrays, data_sets, folders, references, tolerances

# The same library on the same machine: only the order of additions may differ.
SAME = {"rtol": 1e-4, "atol": 1e-6}
SAME_HALF = {"rtol": 2e-2, "atol": 1e-3}


@dataclass
class Result:
    """What the server made of one case."""

    name: str
    outcome: str  # "passed", "refused" or "failed"
    reason: str
    reference: object


def main():
    """Prepares or runs, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    prepare_parser = commands.add_parser("prepare", help="write the cases as a model repository")
    prepare_parser.add_argument("--models", type=Path, required=True, help="the repository's folder, made if missing")
    run_parser = commands.add_parser("run", help="ask a running server")
    run_parser.add_argument("--url", required=True, help="http://HOST:PORT of a server in explicit control mode")
    run_parser.add_argument("--json", action="store_true", help="tensors as JSON instead of bytes")
    run_parser.add_argument("--report", type=Path, help="write one line per case to this file")
    run_parser.add_argument("--threads", type=int, default=2, help="cases asked at a time (default 2)")
    for command in (prepare_parser, run_parser):
        command.add_argument("--sample", type=int, help="only N cases, evenly spread, the same ones every time")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.models, sample(arguments.sample))
    else:
        sys.exit(run(arguments))


def sample(count):
    """Returns the names of all cases, or of `count` of them, evenly spread."""
    names = list(folders())
    if count is None or count >= len(names):
        return names
    return [names[at * len(names) // count] for at in range(count)]


def prepare(models, names):
    """Copies the models of the cases into a repository; the data sets stay in the package."""
    found = folders()
    for name in names:
        version = models / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[name] / "model.onnx", version / "model.onnx")
    print(f"{len(names)} models in {models}")


def run(arguments):
    """Asks for every case and prints what came of it; returns the exit code."""
    names, found = sample(arguments.sample), folders()
    answers = references(names)
    client = Client(arguments.url)

    def one(name):
        return ask(client, name, found[name], answers[name], binary=not arguments.json)

    with ThreadPoolExecutor(arguments.threads) as pool:
        results = list(pool.map(one, names))
    lines = [line(result) for result in results]
    if arguments.report:
        arguments.report.write_text("\n".join(lines) + "\n")
    for result, text in zip(results, lines):
        if result.outcome == "failed" or (result.outcome == "refused" and result.reference.verdict == "right"):
            print(text)
    return summary(results)


def ask(client, name, folder, reference, binary):
    """Loads a case, sends its data sets, compares the answers and unloads it."""
    try:
        try:
            client.load(name)
        except Refused as refused:
            return Result(name, "refused", f"load: {refused}", reference)
        try:
            if reference.verdict == "not carried":
                return Result(name, "failed", f"loaded, although v2 cannot carry it: {reference.reason}", reference)
            reason = differences(client, name, folder, reference, binary)
            return Result(name, "failed" if reason else "passed", reason, reference)
        finally:
            client.unload(name)
    except Refused as refused:
        return Result(name, "refused", f"infer: {refused}", reference)
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return Result(name, "failed", f"{type(error).__name__}: {error}", reference)


def differences(client, name, folder, reference, binary):
    """Returns how the server's answers to a case differ from the reference; empty if they do not."""
    model = onnx.load(folder / "model.onnx")
    datatypes = {
        value.name: DATATYPES[value.type.tensor_type.elem_type] for value in [*model.graph.input, *model.graph.output]
    }
    outputs = [value.name for value in model.graph.output]
    for at, (inputs, expected) in enumerate(data_sets(folder, model)):
        feeds = {key: (datatypes[key], array) for key, array in inputs.items()}
        answer = client.infer(name, feeds, binary=binary)
        if list(answer) != outputs:
            return f"expected the outputs {outputs}, got {list(answer)}"
        if wrong := [key for key in outputs if answer[key][0] != datatypes[key]]:
            return f"output `{wrong[0]}`: expected {datatypes[wrong[0]]}, got {answer[wrong[0]][0]}"
        found = [array for _, array in answer.values()]
        if reference.verdict == "refused":
            reason = compare(expected.values(), found, **tolerances(folder))
        else:
            reason = agree(reference.outputs[at], found, values=not reference.random)
        if reason:
            return reason
    return ""


def agree(expected, found, values):
    """Compares two lists of outputs of the same library, half precision less strictly."""
    for at, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        allowed = SAME_HALF if wanted.dtype.itemsize == 2 else SAME
        if difference := compare_arrays(wanted, got, values=values, **allowed):
            return f"output {at}: {difference}"
    return ""


def line(result):
    """Returns one case as a line of the report."""
    reference = result.reference
    theirs = reference.verdict + (f" ({reference.reason})" if reference.reason else "")
    return f"{result.outcome} {result.name}: {result.reason or 'agrees'} | ONNX Runtime in Python: {theirs}"


def summary(results):
    """Prints the counts; returns the exit code."""
    outcomes = Counter(result.outcome for result in results)
    verdicts = Counter(result.reference.verdict for result in results)
    passed = sum(result.outcome == "passed" and result.reference.verdict == "right" for result in results)
    print(f"onnx {onnx.__version__}, ONNX Runtime in Python {onnxruntime.__version__}")
    print(", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts.items())) + " there")
    print(f"{len(results)} cases: " + ", ".join(f"{outcomes[key]} {key}" for key in ("passed", "refused", "failed")))
    print(f"of the {verdicts['right']} that ONNX Runtime in Python answers rightly, {passed} passed")
    return 0 if passed == verdicts["right"] and not outcomes["failed"] else 1


if __name__ == "__main__":
    main()
