"""Checks a server over gRPC with Triton's own Python client, and with the standard clients for health and reflection.

    python triton_client.py prepare --models DIR      # makes the models that the checks use
    hedef serve DIR                                   # (by the caller)
    python grpc_client.py --url HOST:PORT

Each check prints `ok NAME` or `FAILED NAME: reason`; the exit code is 1 if one failed.
"""

import argparse
import asyncio
import queue
import sys
import time
import traceback

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from triton_models import EDGES, large, model_names

ADDRESS = ""


def main():
    """Runs every check and prints what came of it; the exit code tells."""
    global ADDRESS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server")
    ADDRESS = parser.parse_args().url.removeprefix("http://").rstrip("/")
    client = triton.InferenceServerClient(ADDRESS)
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
    client.close()
    sys.exit(1 if failed else 0)


def tensor(name, array, shape=None):
    """Returns an input; its shape is the array's unless a wrong one is wanted."""
    wanted = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    wanted.set_data_from_numpy(array)
    if shape is not None:
        wanted.set_shape(shape)
    return wanted


def pair(rows=1, plus=3):
    """Returns the two inputs of `simple` as arrays."""
    first = np.arange(16 * rows, dtype=np.int32).reshape(rows, 16)
    return first, np.full_like(first, plus)


def both(rows=1, plus=3):
    """Returns the two inputs of `simple`."""
    return [tensor(f"INPUT{at}", array) for at, array in enumerate(pair(rows, plus))]


def expect(found, wanted):
    """Fails with both values unless they are equal."""
    if found != wanted:
        raise AssertionError(f"expected {wanted!r}, got {found!r}")


def wait_for(look, wanted):
    """Fails unless `look` comes to return what is wanted."""
    limit = time.monotonic() + 60
    while (found := look()) != wanted and time.monotonic() < limit:
        time.sleep(0.1)
    expect(found, wanted)


def expect_refusal(status, words, act):
    """Fails unless `act` raises the client's exception with this status and all of these words."""
    try:
        act()
    except InferenceServerException as error:
        expect(error.status(), f"StatusCode.{status}")
        missing = [word for word in words if word not in error.message()]
        expect(missing, [])
        return
    raise AssertionError("no error was raised")


def live_and_ready(client):
    """The server lives, and is ready with every model; one that is not there is not ready."""
    expect((client.is_server_live(), client.is_server_ready()), (True, True))
    for name in model_names():
        expect((name, client.is_model_ready(name)), (name, True))
    asked = [("simple", "1"), ("simple", "2"), ("simple", "x"), ("nobody", "")]
    expect([client.is_model_ready(*one) for one in asked], [True, False, False, False])


def metadata(client):
    """Names, data types and shapes are the graph's own; a free axis is -1."""
    server = client.get_server_metadata()
    expect((server.name, bool(server.version)), ("hedef", True))
    wanted = {"binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"}
    expect(wanted - set(server.extensions), set())
    model = client.get_model_metadata("simple")
    expect((model.name, list(model.versions), model.platform), ("simple", ["1"], "onnxruntime_onnx"))
    inputs = [(one.name, one.datatype, list(one.shape)) for one in model.inputs]
    expect(inputs, [("INPUT0", "INT32", [-1, 16]), ("INPUT1", "INT32", [-1, 16])])
    expect_refusal("NOT_FOUND", ["`nobody`"], lambda: client.get_model_metadata("nobody"))


def config(client):
    """The configuration leaves the batch axis out of `dims`, and says 0 where there is none."""
    simple = client.get_model_config("simple").config
    expect((simple.max_batch_size > 0, simple.backend, list(simple.input[0].dims)), (True, "onnxruntime", [16]))
    expect((simple.input[0].data_type, simple.instance_group[0].kind), (8, 2))
    expect(list(simple.version_policy.specific.versions), [1])
    fixed = client.get_model_config("fixed").config
    expect((fixed.max_batch_size, list(fixed.input[0].dims)), (0, [2, 3]))
    for datatype, number in [("BOOL", 1), ("UINT64", 5), ("FP16", 10), ("BF16", 14), ("FP64", 12), ("BYTES", 13)]:
        found = client.get_model_config(f"identity_{datatype.lower()}").config.input[0].data_type
        expect((datatype, found), (datatype, number))


def raw_both_ways(client):
    """Every data type goes through as bytes, with its extremes, bit for bit."""
    for datatype, array in EDGES.items():
        answer = client.infer(f"identity_{datatype.lower()}", [tensor("INPUT", array)])
        expect(len(answer.get_response().raw_output_contents), 1)
        if datatype == "BYTES":
            expect([one.decode() for one in answer.as_numpy("OUTPUT").ravel()], list(array.ravel()))
        else:
            expect((datatype, answer.get_response().raw_output_contents[0]), (datatype, array.tobytes()))


FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def typed(datatype, values, **more):
    """Returns a request whose elements stand in the list of their type."""
    contents = service_pb2.InferTensorContents(**{FIELDS[datatype]: values})
    name = f"identity_{datatype.lower()}"
    one = service_pb2.ModelInferRequest.InferInputTensor(name="INPUT", datatype=datatype, shape=[1, 4], contents=contents)
    return service_pb2.ModelInferRequest(model_name=name, inputs=[one], **more)


def typed_both_ways(client):
    """Every data type that has a list goes through as one, with its extremes, and is answered so."""
    with grpc.insecure_channel(ADDRESS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for datatype, field in FIELDS.items():
            values = [one.encode() if isinstance(one, str) else one.item() for one in EDGES[datatype].ravel()]
            answer = stub.ModelInfer(typed(datatype, values))
            found = list(getattr(answer.outputs[0].contents, field))
            expect((datatype, repr(found), len(answer.raw_output_contents)), (datatype, repr(values), 0))
        asked = typed("INT8", [1, 2, 3, 4], parameters={"binary_data_output": service_pb2.InferParameter(bool_param=True)})
        expect(list(stub.ModelInfer(asked).raw_output_contents), [b"\1\2\3\4"])


def shapes(client):
    """Fixed shapes, scalars and empty batches are shapes like any other."""
    fixed = np.arange(6, dtype=np.float32).reshape(2, 3)
    expect(client.infer("fixed", [tensor("x", fixed)]).as_numpy("y").tolist(), (fixed + 1).tolist())
    expect(client.infer("scalar", [tensor("x", np.array(1.5, np.float32))]).as_numpy("y").tolist(), 2.5)
    empty = np.zeros((0, 4), np.float32)
    expect(list(client.infer("identity_fp32", [tensor("INPUT", empty)]).get_response().outputs[0].shape), [0, 4])


def requested_outputs(client):
    """Only the wanted outputs come, in the order wanted; the id comes back, the version is said."""
    wanted = [triton.InferRequestedOutput("OUTPUT1"), triton.InferRequestedOutput("OUTPUT0")]
    answer = client.infer("simple", both(), outputs=wanted, request_id="a-1").get_response()
    expect([one.name for one in answer.outputs], ["OUTPUT1", "OUTPUT0"])
    expect((answer.id, answer.model_name, answer.model_version), ("a-1", "simple", "1"))
    found = [np.frombuffer(one, np.int32).tolist() for one in answer.raw_output_contents]
    first, second = pair()
    expect(found, [(first - second).ravel().tolist(), (first + second).ravel().tolist()])


def compression(client):
    """gzip and deflate work in both directions."""
    first, second = pair(200)
    for coding in ["gzip", "deflate"]:
        answer = client.infer("simple", both(200), compression_algorithm=coding)
        expect(answer.as_numpy("OUTPUT0").tolist(), (first + second).tolist())


def large_messages(client):
    """More than gRPC's own clients take by default goes through, in many frames."""
    rows = np.random.default_rng(1).random((500_000, 4)).astype(np.float32)
    expect(np.array_equal(client.infer("identity_fp32", [tensor("INPUT", rows)]).as_numpy("OUTPUT"), rows), True)


def classification(client):
    """The best classes come as `value:index[:label]`, best first."""
    row = np.array([0.1, 3.3, -1], np.float32)
    wanted = triton.InferRequestedOutput("OUTPUT", class_count=2)
    answer = client.infer("animals", [tensor("INPUT", row)], outputs=[wanted])
    expect([one.decode() for one in answer.as_numpy("OUTPUT")], ["3.300000:1:dog", "0.100000:0:cat"])


def deadlines(client):
    """A call may say how long it can wait, and so may a request in it, in whole microseconds."""
    client.infer("simple", both(), client_timeout=60, timeout=60_000_000, priority=1)
    expect_refusal("INVALID_ARGUMENT", ["`timeout`", "`-1`"], lambda: client.infer("simple", both(), timeout=-1))


def callbacks(client):
    """Many calls at a time get each its own answer."""
    answers = queue.Queue()
    for plus in range(50):
        client.async_infer("simple", both(plus=plus), lambda result, error: answers.put((result, error)), request_id=str(plus))
    for _ in range(50):
        result, error = answers.get(timeout=60)
        expect(error, None)
        plus = int(result.get_response().id)
        expect(result.as_numpy("OUTPUT0").tolist(), (pair()[0] + plus).tolist())


def asyncio_client(client):
    """The client for asyncio is content too, its stream included."""

    async def work():
        async with triton_aio.InferenceServerClient(ADDRESS) as aio:
            expect(await aio.is_server_ready(), True)
            answers = await asyncio.gather(*(aio.infer("simple", both(plus=plus)) for plus in range(20)))
            found = [answer.as_numpy("OUTPUT1")[0, 0].item() for answer in answers]
            expect(found, [-plus for plus in range(20)])

            async def requests():
                for plus in range(20):
                    yield {"model_name": "simple", "inputs": both(plus=plus), "request_id": str(plus)}

            ids = [result.get_response().id async for result, error in aio.stream_infer(requests()) if error is None]
            expect(ids, [str(plus) for plus in range(20)])

    asyncio.run(work())


def streamed(client, requests, headers=None):
    """Sends requests as one stream; returns its answers and errors in their order."""
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    for model, inputs, name in requests:
        client.async_stream_infer(model, inputs, request_id=name)
    found = [answers.get(timeout=60) for _ in requests]
    client.stop_stream()
    return found


def streams(client):
    """A stream's answers stand in the order of its requests, and an error is one of them."""
    requests = [("simple", both(plus=plus), str(plus)) for plus in range(100)]
    answers = streamed(client, requests)
    expect([result.get_response().id for result, _ in answers], [name for _, _, name in requests])
    final = answers[0][0].get_response().parameters["triton_final_response"].bool_param
    expect(final, True)
    wrong = [("simple", both(), "a"), ("nobody", both(), "b"), ("simple", both(), "c")]
    answers = streamed(client, wrong)
    expect([error is None for _, error in answers], [True, False, True])
    expect("`nobody`" in str(answers[1][1]), True)


def large_tensors(client):
    """They come back as they were, many at once on one connection, wherever in their messages they lie."""
    calls = [(datatype, array, "x" * length) for length in range(8) for datatype, array in large()]
    answers = queue.Queue()
    for at, (datatype, array, name) in enumerate(calls):
        told = lambda result, error, at=at: answers.put((at, result, error))
        client.async_infer(f"identity_{datatype.lower()}", [tensor("INPUT", array)], told, request_id=name)
    for _ in calls:
        at, result, error = answers.get(timeout=60)
        expect(error, None)
        expect(np.array_equal(result.as_numpy("OUTPUT"), calls[at][1]), True)
    for datatype, array in large():
        [(result, error)] = streamed(client, [(f"identity_{datatype.lower()}", [tensor("INPUT", array)], "")])
        expect((error, np.array_equal(result.as_numpy("OUTPUT"), array)), (None, True))


def a_stream_that_an_error_ends(client):
    """With `triton_grpc_error` the first error is the status that ends the stream."""
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error), headers={"triton_grpc_error": "true"})
    client.async_stream_infer("nobody", both())
    error = answers.get(timeout=60)
    expect((error.status(), "`nobody`" in error.message()), ("StatusCode.NOT_FOUND", True))
    client.stop_stream()


def statistics(client):
    """Requests, rows and runs are counted."""
    before = client.get_inference_statistics("simple", "1").model_stats[0]
    client.infer("simple", both(3))
    after = client.get_inference_statistics("simple").model_stats[0]
    expect((after.name, after.version), ("simple", "1"))
    expect((after.inference_count - before.inference_count, after.execution_count - before.execution_count), (3, 1))
    expect(after.inference_stats.success.count - before.inference_stats.success.count, 1)
    expect(after.last_inference > 0 and after.inference_stats.compute_infer.ns > 0, True)
    expect({one.name for one in client.get_inference_statistics().model_stats} >= {"simple", "fixed"}, True)


def repository(client):
    """An unloaded model is gone from requests, stays in the index, and comes back; files can be sent."""
    line = lambda: next(one for one in client.get_model_repository_index().models if one.name == "simple")
    expect((line().version, line().state), ("1", "READY"))
    client.unload_model("simple")
    expect((line().state, line().reason, client.is_model_ready("simple")), ("UNAVAILABLE", "unloaded", False))
    expect_refusal("UNAVAILABLE", ["`simple`"], lambda: client.infer("simple", both()))
    client.load_model("simple", config='{"max_batch_size": 4}')
    # Where a machine is busy, a model may be ready before it was shown that its rows may share runs.
    wait_for(lambda: client.get_model_config("simple").config.max_batch_size, 4)
    client.load_model("simple")
    expect_refusal("NOT_FOUND", ["`nobody`"], lambda: client.load_model("nobody"))
    broken = lambda: client.load_model("sent", config="{}", files={"file:1/model.onnx": b"no model"})
    expect_refusal("INVALID_ARGUMENT", ["`sent"], broken)


def logging(client):
    """What is logged is told, changed, and told anew."""
    tell = lambda change: client.update_log_settings(change, as_json=True)["settings"]
    before = client.get_log_settings(as_json=True)["settings"]
    expect(before["log_verbose_level"], {"uint32_param": 0})
    expect(tell({"log_verbose_level": 1, "log_info": True})["log_verbose_level"], {"uint32_param": 1})
    wrong = lambda: tell({"log_file": "elsewhere"})
    expect_refusal("INVALID_ARGUMENT", ["`log_file`", "takes a new start"], wrong)
    expect(tell({"log_verbose_level": 0, "log_info": before["log_info"]["bool_param"]}), before)


def refusals(client):
    """Every wrong request is told which tensor is wrong, what was expected, and what came."""
    good, other = both()
    cases = [
        ([good], ["`INPUT1` is missing", "INT32 [-1,16]"]),
        ([good, tensor("INPUT2", pair()[0])], ["unknown input `INPUT2`"]),
        ([good, tensor("INPUT1", np.zeros((1, 16), np.float32))], ["`INPUT1`", "INT32 [-1,16]", "FP32 [1,16]"]),
        ([good, tensor("INPUT1", pair()[1], shape=[1, 15])], ["`INPUT1`", "[1,15]"]),
        ([good, tensor("INPUT1", pair()[1], shape=[2, 16])], ["`INPUT1`", "128 bytes", "64 bytes"]),
        ([good, tensor("INPUT1", pair()[1], shape=[-1, 16])], ["`INPUT1`", "`shape`", "`-1`"]),
    ]
    for inputs, words in cases:
        expect_refusal("INVALID_ARGUMENT", words, lambda inputs=inputs: client.infer("simple", inputs))
    with grpc.insecure_channel(ADDRESS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for wrong, words in [
            (typed("INT8", [1, 2, 3, 300]), "element [3]: expected INT8 (a whole number from -128 to 127), found `300`"),
            (typed("INT8", [1, 2, 3]), "expected 4 elements for shape [1,4], found 3"),
            (typed("INT8", [1, 2, 3, 4], raw_input_contents=[b"1234"]), "either `contents` or `raw_input_contents`"),
        ]:
            try:
                stub.ModelInfer(wrong)
                raise AssertionError("no error was raised")
            except grpc.RpcError as error:
                expect((error.code(), words in error.details()), (grpc.StatusCode.INVALID_ARGUMENT, True))
    none = [triton.InferRequestedOutput("none")]
    expect_refusal("INVALID_ARGUMENT", ["`none`"], lambda: client.infer("simple", both(), outputs=none))
    sequence = lambda: client.infer("simple", both(), sequence_id=5, sequence_start=True)
    expect_refusal("UNIMPLEMENTED", ["sequence"], sequence)
    out_of_range = tensor("index", np.array([[9]], np.int64))
    expect_refusal("INVALID_ARGUMENT", ["`pick"], lambda: client.infer("pick", [out_of_range]))
    expect_refusal("UNIMPLEMENTED", ["SystemSharedMemoryStatus"], client.get_system_shared_memory_status)


def health(client):
    """The standard service says how the server is; there is no other service."""
    with grpc.insecure_channel(ADDRESS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        ask = health_pb2.HealthCheckRequest
        for name in ["", "inference.GRPCInferenceService", "liveness"]:
            expect(stub.Check(ask(service=name)).status, health_pb2.HealthCheckResponse.SERVING)
        try:
            stub.Check(ask(service="nobody"))
            raise AssertionError("no error was raised")
        except grpc.RpcError as error:
            expect((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, "there is no service `nobody` here"))
        for name, status in [("", "SERVING"), ("nobody", "SERVICE_UNKNOWN")]:
            watching = stub.Watch(ask(service=name), timeout=60)
            expect(next(watching).status, getattr(health_pb2.HealthCheckResponse, status))
            watching.cancel()


def reflection(client):
    """A client that knows nothing finds the services, makes a request of what it is told, and gets its answer."""
    with grpc.insecure_channel(ADDRESS) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        wanted = {"inference.GRPCInferenceService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}
        expect(wanted - set(database.get_services()), set())
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        method = service.FindMethodByName("ModelMetadata")
        ask, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}", ask.SerializeToString, answer.FromString
        )
        expect(call(ask(name="simple")).inputs[0].name, "INPUT0")
        pool.FindMessageTypeByName("inference.ModelInferRequest.InferInputTensor")
        try:
            pool.FindMessageTypeByName("inference.Nobody")
            raise AssertionError("no error was raised")
        except KeyError:
            pass


def request_ids(client):
    """The id of a request and its trace come back with the head of the answer."""
    with grpc.insecure_channel(ADDRESS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        sent = [("x-request-id", "mine"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
        _, call = stub.ServerLive.with_call(service_pb2.ServerLiveRequest(), metadata=sent)
        found = {key: value for key, value in call.initial_metadata()}
        expect([found.get(key) for key, _ in sent], [value for _, value in sent])


CHECKS = [
    live_and_ready,
    metadata,
    config,
    raw_both_ways,
    typed_both_ways,
    shapes,
    requested_outputs,
    compression,
    large_messages,
    large_tensors,
    classification,
    deadlines,
    callbacks,
    asyncio_client,
    streams,
    a_stream_that_an_error_ends,
    statistics,
    repository,
    logging,
    refusals,
    health,
    reflection,
    request_ids,
]


if __name__ == "__main__":
    main()
