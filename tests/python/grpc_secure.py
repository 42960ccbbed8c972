"""Calls a server over gRPC within TLS, with a key and without one. Prints `ok`.

    python grpc_secure.py --url HOST:PORT --root ROOT.PEM --key KEY     # the key is for scoring
"""

import argparse

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


def main():
    """Makes every call; an assertion tells what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server")
    parser.add_argument("--root", required=True, help="the authority that signed its certificate")
    parser.add_argument("--key", required=True, help="a key for scoring")
    arguments = parser.parse_args()
    with open(arguments.root, "rb") as file:
        trust = grpc.ssl_channel_credentials(file.read())
    flower = np.array([5.1, 3.5, 1.4, 0.2], np.float32).tobytes()
    one = service_pb2.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 4])
    infer = service_pb2.ModelInferRequest(model_name="iris", inputs=[one], raw_input_contents=[flower])
    load = service_pb2.RepositoryModelLoadRequest(model_name="iris")
    with grpc.secure_channel(arguments.url, trust) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def code(call, request, *metadata):
            try:
                call(request, metadata=metadata, timeout=120)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()

        bearer, plain = ("authorization", f"Bearer {arguments.key}"), ("x-api-key", arguments.key)
        found = [
            code(stub.ModelInfer, infer, bearer),
            code(stub.ModelInfer, infer, plain),
            code(stub.ModelInfer, infer),
            code(stub.ModelInfer, infer, ("x-api-key", arguments.key[:-1])),
            code(stub.RepositoryModelLoad, load, bearer),
            code(stub.RepositoryModelLoad, load),
            code(stub.ServerMetadata, service_pb2.ServerMetadataRequest()),
            code(stub.ServerLive, service_pb2.ServerLiveRequest()),
            code(health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest()),
        ]
        ok, unknown = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
        expected = [ok, ok, unknown, unknown, grpc.StatusCode.PERMISSION_DENIED, unknown, unknown, ok, ok]
        assert found == expected, found

        answers = stub.ModelStreamInfer(iter([infer, infer]), metadata=[bearer], timeout=120)
        assert [answer.error_message for answer in answers] == ["", ""]
        try:
            list(stub.ModelStreamInfer(iter([infer]), timeout=120))
            raise AssertionError("a stream without a key")
        except grpc.RpcError as error:
            assert error.code() == unknown, error
    print("ok")


if __name__ == "__main__":
    main()
