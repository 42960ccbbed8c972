"""Checks a server with Triton's own Python client over HTTP.

    python triton_client.py prepare --models DIR      # makes the models that the checks use
    hedef serve DIR --model-control explicit          # (by the caller)
    python triton_client.py run --url HOST:PORT

Each check prints `ok NAME` or `FAILED NAME: reason`; the exit code is 1 if one failed.
"""

import argparse
import sys
import traceback
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from triton_models import EDGES, large, model_names, prepare


def main():
    """Prepares or runs, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    prepare_parser = commands.add_parser("prepare", help="write the models")
    prepare_parser.add_argument("--models", type=Path, required=True, help="the repository's folder, made if missing")
    run_parser = commands.add_parser("run", help="ask a running server")
    run_parser.add_argument("--url", required=True, help="HOST:PORT of a server in explicit control mode")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.models)
    else:
        sys.exit(run(arguments.url.removeprefix("http://").rstrip("/")))


def run(address):
    """Loads the models, runs every check and prints what came of it; returns the exit code."""
    client = triton.InferenceServerClient(address, concurrency=8, network_timeout=60, connection_timeout=60)
    failed = 0
    for check in CHECKS:
        try:
            check(client)
            print(f"ok {check.__name__}")
        except Exception as error:  # a check may break in any way; the others still run
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            mine = [frame for frame in where if frame.filename == __file__]
            print(f"FAILED {check.__name__}: {type(error).__name__}: {error} (line {mine[-1].lineno}: {mine[-1].line})")
    print(f"{len(CHECKS)} checks, {failed} failed")
    return 1 if failed else 0


def tensor(name, array, datatype=None, shape=None, binary=True):
    """Returns an input; data type and shape are the array's unless a wrong one is wanted."""
    datatype = datatype or np_to_triton_dtype(array.dtype)
    wanted = triton.InferInput(name, list(array.shape), datatype)
    wanted.set_data_from_numpy(array, binary_data=binary)
    if shape is not None:
        wanted.set_shape(shape)
    return wanted


def ask(client, model, *inputs, outputs=None, **options):
    """Scores; `outputs` are names or ready InferRequestedOutputs."""
    if outputs is not None:
        outputs = [triton.InferRequestedOutput(one) if isinstance(one, str) else one for one in outputs]
    return client.infer(model, list(inputs), outputs=outputs, **options)


def pair(rows=1):
    """Returns the two inputs of `simple` as arrays."""
    first = np.arange(16 * rows, dtype=np.int32).reshape(rows, 16)
    return first, np.full_like(first, 3)


def both(rows=1, **options):
    """Returns the two inputs of `simple`."""
    return [tensor(f"INPUT{at}", array, **options) for at, array in enumerate(pair(rows))]


def expect(found, wanted):
    """Fails with both values unless they are equal."""
    if found != wanted:
        raise AssertionError(f"expected {wanted!r}, got {found!r}")


def expect_same(found, wanted):
    """Fails unless two arrays are the same bit for bit: type, shape, and the sign of zero."""
    if found is None:
        raise AssertionError("the output is not in the answer")
    if wanted.dtype == object:
        expect([text(one) for one in found.ravel()], [text(one) for one in wanted.ravel()])
    else:
        expect(found.dtype, wanted.dtype)
        expect(found.tobytes().hex(), wanted.tobytes().hex())
    expect(found.shape, wanted.shape)


def text(element):
    """Returns a string element as text: the client gives bytes for binary answers, text for JSON."""
    return element.decode() if isinstance(element, bytes) else element


def expect_refusal(status, words, act):
    """Fails unless `act` raises the client's exception with this status and all of these words."""
    try:
        act()
    except InferenceServerException as error:
        expect(error.status(), str(status))
        missing = [word for word in words if word not in error.message()]
        if missing:
            raise AssertionError(f"the message lacks {missing}: {error.message()}") from None
        return
    raise AssertionError("no error was raised")


def live_and_ready(client):
    """The server lives, and is ready with every model that was asked for."""
    expect(client.is_server_live(), True)
    for name in model_names():
        client.load_model(name)
    expect(client.is_server_ready(), True)
    for name in model_names():
        expect((name, client.is_model_ready(name)), (name, True))
    expect(client.is_model_ready("simple", "1"), True)
    expect(client.is_model_ready("simple", "2"), False)
    expect(client.is_model_ready("nobody"), False)


def server_metadata(client):
    """The server names itself and the extensions that it has."""
    metadata = client.get_server_metadata()
    expect(bool(metadata["name"]) and bool(metadata["version"]), True)
    wanted = {"binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"}
    expect(wanted - set(metadata["extensions"]), set())


def model_metadata(client):
    """Names, data types and shapes are the graph's own; a free axis is -1."""
    metadata = client.get_model_metadata("simple")
    expect((metadata["name"], metadata["versions"], metadata["platform"]), ("simple", ["1"], "onnxruntime_onnx"))
    for kind in ("inputs", "outputs"):
        name = kind[:-1].upper()
        wanted = [{"name": f"{name}{at}", "datatype": "INT32", "shape": [-1, 16]} for at in (0, 1)]
        expect([{key: one[key] for key in ("name", "datatype", "shape")} for one in metadata[kind]], wanted)
    expect(client.get_model_metadata("fixed", "1")["inputs"][0]["shape"], [2, 3])
    expect(client.get_model_metadata("scalar")["inputs"][0]["shape"], [])
    for datatype in EDGES:
        metadata = client.get_model_metadata(f"identity_{datatype.lower()}")
        expect(metadata["inputs"][0]["datatype"], datatype)
    expect_refusal(404, ["nobody"], lambda: client.get_model_metadata("nobody"))
    expect_refusal(404, ["simple", "7"], lambda: client.get_model_metadata("simple", "7"))


def model_config(client):
    """The configuration leaves the batch axis out of `dims`, and says 0 where there is none."""
    config = client.get_model_config("simple")
    expect((config["name"], config["platform"], config["backend"]), ("simple", "onnxruntime_onnx", "onnxruntime"))
    expect(config["max_batch_size"] > 1, True)
    expect([(one["name"], one["data_type"], one["dims"]) for one in config["input"]][0], ("INPUT0", "TYPE_INT32", [16]))
    expect([one["name"] for one in config["output"]], ["OUTPUT0", "OUTPUT1"])
    expect(client.get_model_config("identity_bytes")["input"][0]["data_type"], "TYPE_STRING")
    config = client.get_model_config("fixed")
    expect((config["max_batch_size"], config["input"][0]["dims"]), (0, [2, 3]))
    expect_refusal(404, ["nobody"], lambda: client.get_model_config("nobody"))


def binary_both_ways(client):
    """Every data type goes through as bytes, with its extremes, bit for bit."""
    for datatype, array in EDGES.items():
        array = np.concatenate([array, array[:, ::-1]])
        answer = ask(client, f"identity_{datatype.lower()}", tensor("INPUT", array))
        expect((datatype, answer.get_output("OUTPUT")["datatype"]), (datatype, datatype))
        expect_same(answer.as_numpy("OUTPUT"), array)


def json_both_ways(client):
    """Every data type goes through as JSON, with its extremes; the client has no JSON for BF16 inputs."""
    for datatype, array in EDGES.items():
        output = triton.InferRequestedOutput("OUTPUT", binary_data=False)
        sent = tensor("INPUT", array, binary=datatype == "BF16")
        answer = ask(client, f"identity_{datatype.lower()}", sent, outputs=[output])
        expect("data" in answer.get_output("OUTPUT"), True)
        expect_same(answer.as_numpy("OUTPUT"), array)


def mixed_json_and_binary(client):
    """One tensor as JSON and one as bytes, in and out, in one request."""
    first, second = pair(2)
    outputs = [triton.InferRequestedOutput(f"OUTPUT{at}", binary_data=at == 1) for at in (0, 1)]
    inputs = [tensor("INPUT0", first, binary=False), tensor("INPUT1", second)]
    answer = ask(client, "simple", *inputs, outputs=outputs)
    expect_same(answer.as_numpy("OUTPUT0"), first + second)
    expect_same(answer.as_numpy("OUTPUT1"), first - second)


def strings_that_are_no_text(client):
    """Strings with NUL bytes, and bytes that are no UTF-8, come back as they went."""
    array = np.array([[b"a\0b", b"\xff\xfe", b"\0", b""]], object)
    found = ask(client, "identity_bytes", tensor("INPUT", array)).as_numpy("OUTPUT")
    expect(found.tolist(), array.tolist())


def shapes(client):
    """Fixed shapes, scalars and empty batches are shapes like any other."""
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    expect_same(ask(client, "fixed", tensor("x", table)).as_numpy("y"), table + 1)
    number = np.array(41, np.float32)
    for binary in (True, False):
        answer = ask(client, "scalar", tensor("x", number, binary=binary))
        expect_same(answer.as_numpy("y"), number + np.float32(1))
    empty = np.zeros((0, 4), np.float32)
    for binary in (True, False):
        answer = ask(client, "identity_fp32", tensor("INPUT", empty, binary=binary))
        expect_same(answer.as_numpy("OUTPUT"), empty)


def requested_outputs(client):
    """Only the wanted outputs come, in the order wanted; the id comes back, the version is said."""
    first, second = pair()
    answer = ask(client, "simple", *both(), outputs=["OUTPUT1"], request_id="question-7", model_version="1")
    response = answer.get_response()
    expect([one["name"] for one in response["outputs"]], ["OUTPUT1"])
    expect((response["model_name"], response["model_version"], response["id"]), ("simple", "1", "question-7"))
    expect_same(answer.as_numpy("OUTPUT1"), first - second)
    answer = ask(client, "simple", *both(), outputs=["OUTPUT1", "OUTPUT0"])
    expect([one["name"] for one in answer.get_response()["outputs"]], ["OUTPUT1", "OUTPUT0"])
    expect_same(answer.as_numpy("OUTPUT0"), first + second)
    expect("id" in answer.get_response(), False)


def compression(client):
    """gzip and deflate work in both directions, for bytes and for JSON."""
    first, second = pair(50)
    for sent in ("gzip", "deflate", None):
        for received in ("gzip", "deflate", None):
            for binary in (True, False):
                answer = ask(
                    client,
                    "simple",
                    *both(50, binary=binary),
                    outputs=[triton.InferRequestedOutput(f"OUTPUT{at}", binary_data=binary) for at in (0, 1)],
                    request_compression_algorithm=sent,
                    response_compression_algorithm=received,
                )
                expect_same(answer.as_numpy("OUTPUT0"), first + second)
                expect_same(answer.as_numpy("OUTPUT1"), first - second)


def large_tensors(client):
    """They come back as they were, many at once, wherever in their bodies they lie."""
    calls = [(datatype, array, "x" * length) for length in range(8) for datatype, array in large()]
    answers = [client.async_infer(f"identity_{datatype.lower()}", [tensor("INPUT", array)], request_id=name)
               for datatype, array, name in calls]
    for (_, array, _), answer in zip(calls, answers):
        expect(np.array_equal(answer.get_result(timeout=60).as_numpy("OUTPUT"), array), True)


def async_requests(client):
    """Many requests at a time get each its own answer."""
    asked = []
    for number in range(100):
        array = np.full((1 + number % 3, 4), number, np.float32)
        asked.append((array, client.async_infer("identity_fp32", [tensor("INPUT", array)])))
    for array, answer in asked:
        expect_same(answer.get_result().as_numpy("OUTPUT"), array)


def classification(client):
    """The best classes come as `value:index[:label]`, best first."""
    scores = np.array([0.1, 3.3, -1], np.float32)
    best = triton.InferRequestedOutput("OUTPUT", class_count=2)
    found = ask(client, "animals", tensor("INPUT", scores), outputs=[best]).as_numpy("OUTPUT")
    expect([text(one) for one in found.tolist()], ["3.300000:1:dog", "0.100000:0:cat"])
    rows = np.array([[0.1, 3.25, -1, 2], [9, 8, 7, 6]], np.float32)
    for binary in (True, False):
        best = triton.InferRequestedOutput("OUTPUT", binary_data=binary, class_count=3)
        answer = ask(client, "identity_fp32", tensor("INPUT", rows), outputs=[best])
        expect(answer.get_output("OUTPUT")["datatype"], "BYTES")
        found = [[text(one) for one in row] for row in answer.as_numpy("OUTPUT").tolist()]
        wanted = [["3.250000:1", "2.000000:3", "0.100000:0"], ["9.000000:0", "8.000000:1", "7.000000:2"]]
        expect(found, wanted)
    best = triton.InferRequestedOutput("OUTPUT", class_count=9)
    expect(ask(client, "animals", tensor("INPUT", scores), outputs=[best]).as_numpy("OUTPUT").shape, (3,))


def statistics(client):
    """Requests, rows and runs are counted, failures apart."""
    client.unload_model("simple")
    client.load_model("simple")
    before = only(client.get_inference_statistics("simple"))
    for rows in (1, 4, 4):
        ask(client, "simple", *both(rows))
    after = only(client.get_inference_statistics("simple", "1"))
    expect(after["version"], "1")
    expect(after["inference_count"] - before.get("inference_count", 0), 9)
    expect(0 < after["execution_count"] - before.get("execution_count", 0) <= 3, True)
    expect(after["last_inference"] > 1_600_000_000_000, True)
    kinds = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]
    for kind in kinds:
        expect((kind, set(after["inference_stats"][kind])), (kind, {"count", "ns"}))
    grown = after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"]
    expect(grown, 3)
    expect(after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"], True)
    expect(sum(one["compute_infer"]["count"] for one in after["batch_stats"]) >= 1, True)
    before = only(client.get_inference_statistics("pick"))
    refuse_at_run_time(client)
    after = only(client.get_inference_statistics("pick"))
    expect(after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"], 1)
    everyone = {one["name"] for one in client.get_inference_statistics()["model_stats"]}
    expect(set(model_names()) - everyone, set())
    expect_refusal(404, ["nobody"], lambda: client.get_inference_statistics("nobody"))


def only(stats):
    """Returns the statistics of the only model version in an answer."""
    (one,) = stats["model_stats"]
    return one


def refuse_at_run_time(client):
    """A model that fails while it runs gives an error, and goes on serving."""
    index = np.array([[7]], np.int64)
    expect_refusal(400, ["pick"], lambda: ask(client, "pick", tensor("index", index)))
    found = ask(client, "pick", tensor("index", np.array([[2]], np.int64))).as_numpy("number")
    expect_same(found, np.array([[30]], np.float32))


def unload_and_load(client):
    """An unloaded model is gone from requests, stays in the index, and comes back."""
    expect(entry(client, "simple")["state"], "READY")
    client.unload_model("simple")
    expect(client.is_model_ready("simple"), False)
    gone = entry(client, "simple")
    expect((gone["state"], gone["reason"]), ("UNAVAILABLE", "unloaded"))
    try:
        ask(client, "simple", *both())
        raise AssertionError("an unloaded model answered")
    except InferenceServerException as error:
        expect(error.status() in ("400", "404", "503"), True)
    client.load_model("simple")
    expect((entry(client, "simple")["state"], client.is_model_ready("simple")), ("READY", True))
    ask(client, "simple", *both())
    client.load_model("simple")  # of a loaded model: a reload
    ask(client, "simple", *both())
    names = {one["name"] for one in client.get_model_repository_index()}
    expect(set(model_names()) - names, set())


def entry(client, name):
    """Returns a model's line of the repository index."""
    (found,) = [one for one in client.get_model_repository_index() if one["name"] == name]
    return found


def refusals(client):
    """Every wrong request is told which tensor is wrong, what was expected, and what came."""
    row, whole = np.ones((1, 4), np.float32), np.ones((1, 4), np.int64)
    first, second = both()

    def identity(*inputs, **options):
        return lambda: ask(client, "identity_fp32", *inputs, **options)

    expect_refusal(400, ["INPUT", "FP32", "INT64"], identity(tensor("INPUT", whole)))
    expect_refusal(400, ["INPUT", "FP32", "INT64"], identity(tensor("INPUT", whole, binary=False)))
    expect_refusal(400, ["INPUT", "[-1,4]", "[1,3]"], identity(tensor("INPUT", row[:, :3])))
    expect_refusal(400, ["INPUT", "[-1,4]", "[4]"], identity(tensor("INPUT", row[0])))
    expect_refusal(400, ["INPUT"], identity(tensor("INPUT", row, shape=[2, 4])))
    expect_refusal(400, ["INPUT"], identity(tensor("INPUT", row, shape=[2, 4], binary=False)))
    expect_refusal(400, ["other", "INPUT"], identity(tensor("other", row)))
    expect_refusal(400, ["INPUT"], identity(tensor("INPUT", row), tensor("INPUT", row)))
    expect_refusal(400, ["other", "OUTPUT"], identity(tensor("INPUT", row), outputs=["other"]))
    expect_refusal(400, ["INPUT1"], lambda: ask(client, "simple", first))
    expect_refusal(404, ["nobody"], lambda: ask(client, "nobody", first))
    expect_refusal(404, ["simple", "9"], lambda: ask(client, "simple", first, second, model_version="9"))
    expect_refusal(404, ["nobody"], lambda: client.load_model("nobody"))
    ask(client, "simple", first, second)


CHECKS = [
    live_and_ready,
    server_metadata,
    model_metadata,
    model_config,
    binary_both_ways,
    json_both_ways,
    mixed_json_and_binary,
    strings_that_are_no_text,
    shapes,
    requested_outputs,
    compression,
    async_requests,
    large_tensors,
    classification,
    statistics,
    refuse_at_run_time,
    unload_and_load,
    refusals,
]

if __name__ == "__main__":
    main()
