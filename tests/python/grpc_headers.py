"""Scores one row over gRPC with metadata, and prints what the answer brings with it as JSON.

    python grpc_headers.py MODEL --url HOST:PORT [--stream] [NAME=VALUE ...]

Of a stream it prints the parameters of each answer too, as `parameters`.
"""

import argparse
import json

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc


def main():
    """Sends the call that the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("metadata", nargs="*", help="NAME=VALUE")
    parser.add_argument("--url", required=True, help="HOST:PORT of a server")
    parser.add_argument("--stream", action="store_true", help="send it in a stream, twice")
    arguments = parser.parse_intermixed_args()
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 4])
    raw = np.array([1, 2, 3, 4], np.float32).tobytes()
    request = service_pb2.ModelInferRequest(model_name=arguments.model, inputs=[tensor], raw_input_contents=[raw])
    metadata = [tuple(one.split("=", 1)) for one in arguments.metadata]
    with grpc.insecure_channel(arguments.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        if arguments.stream:
            call = stub.ModelStreamInfer(iter([request, request]), metadata=metadata, timeout=60)
            try:
                answers = list(call)
            except grpc.RpcError:
                answers = []
        else:
            call = stub.ModelInfer.future(request, metadata=metadata, timeout=60)
        brought = dict(call.initial_metadata())
        brought["code"] = call.code().name
        if call.code() != grpc.StatusCode.OK:
            brought |= dict(call.trailing_metadata())
        if arguments.stream:
            brought["errors"] = [answer.error_message for answer in answers]
            brought["parameters"] = [
                {name: value.string_param for name, value in answer.infer_response.parameters.items()}
                for answer in answers
            ]
    print(json.dumps(brought))


if __name__ == "__main__":
    main()
