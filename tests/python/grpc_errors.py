"""Provokes errors over gRPC and prints what they tell.

    python grpc_errors.py --url HOST:PORT --models NAME,NAME…     # models that are broken, or not there

Prints a line of JSON for each: what was asked, and the message with what came with it.
"""

import argparse
import json

import grpc
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc


def main():
    """Asks for everything that cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server")
    parser.add_argument("--models", required=True, help="names with commas between them")
    arguments = parser.parse_args()
    with grpc.insecure_channel(arguments.url, [("grpc.max_send_message_length", -1)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name in arguments.models.split(","):
            of_model(stub, name)
        requests(stub)
        routes(channel)
        print_line("index", str(stub.RepositoryIndex(pb.RepositoryIndexRequest())))


def of_model(stub, name):
    """Asks for what is known of a model, and loads it."""
    ask(f"infer {name}", stub.ModelInfer, pb.ModelInferRequest(model_name=name))
    ask(f"metadata {name}", stub.ModelMetadata, pb.ModelMetadataRequest(name=name))
    ask(f"config {name}", stub.ModelConfig, pb.ModelConfigRequest(name=name))
    ask(f"statistics {name}", stub.ModelStatistics, pb.ModelStatisticsRequest(name=name))
    ask(f"ready {name}", stub.ModelReady, pb.ModelReadyRequest(name=name))
    ask(f"load {name}", stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name=name))
    stream(f"stream {name}", stub, pb.ModelInferRequest(model_name=name))


def requests(stub):
    """Sends requests for `iris` that are wrong."""

    def one(name="features", datatype="FP32", shape=(1, 4), raw=bytes(16), **more):
        tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
        return pb.ModelInferRequest(model_name="iris", inputs=[tensor], raw_input_contents=[raw], **more)

    for what, request in {
        "another name": one(name="x"),
        "another data type": one(datatype="INT8"),
        "no data type": one(datatype="x"),
        "another shape": one(shape=(1, 5)),
        "a negative shape": one(shape=(-1, 4)),
        "a huge shape": one(shape=(2**62, 2**62)),
        "too few bytes": one(raw=bytes(15)),
        "too many bytes": one(raw=bytes(5 << 20)),
        "another version": one(model_version="9"),
        "no version": one(model_version="x"),
        "another output": one(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="x")]),
        "no input": pb.ModelInferRequest(model_name="iris"),
        "no model": pb.ModelInferRequest(),
        "a path": pb.ModelInferRequest(model_name="../x"),
    }.items():
        ask(what, stub.ModelInfer, request)
        stream(what, stub, request)
    ask("no time", stub.ModelInfer, one(), timeout=0.000001)
    load = pb.RepositoryModelLoadRequest(model_name="uploaded")
    load.parameters["config"].string_param = "{"
    load.parameters["file:1/model.onnx"].bytes_param = b"x"
    ask("a config that is no JSON", stub.RepositoryModelLoad, load)
    load.parameters["config"].string_param = "{}"
    ask("a file that is no model", stub.RepositoryModelLoad, load)
    ask("shared memory", stub.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest())
    ask("trace", stub.TraceSetting, pb.TraceSettingRequest())


def routes(channel):
    """Calls what is not there, and what is there with messages that are none."""
    check = health_pb2_grpc.HealthStub(channel).Check
    ask("health of nothing", check, health_pb2.HealthCheckRequest(service="nothing"))
    service = "/inference.GRPCInferenceService"
    for path in ("/x.Y/Z", f"{service}/Nothing", f"{service}/ModelInfer", f"{service}/RepositoryModelLoad"):
        for message in (b"", b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f"):
            call = channel.unary_unary(path, lambda _, message=message: message, empty_pb2.Empty.FromString)
            ask(f"{path} {message}", call, empty_pb2.Empty())


def ask(what, call, request, timeout=60):
    """Prints what a call is refused with."""
    try:
        print_line(what, str(call(request, timeout=timeout)))
    except grpc.RpcError as error:
        print_line(what, f"{error.code()} {error.details()} {error.initial_metadata()} {error.trailing_metadata()}")


def stream(what, stub, request):
    """The same in a stream."""
    try:
        for answer in stub.ModelStreamInfer(iter([request]), timeout=60):
            print_line(what, answer.error_message)
    except grpc.RpcError as error:
        print_line(what, f"{error.code()} {error.details()}")


def print_line(what, told):
    """Prints one line."""
    print(json.dumps([what, told]))


if __name__ == "__main__":
    main()
