"""Calls that are under way while something happens to the server, or to their client.

    python grpc_waiting.py stop --url HOST:PORT     # calls and an open stream, which have to end well
    python grpc_waiting.py leave --url HOST:PORT    # a call that never ends, given up at the first line of the input
"""

import argparse
import queue
import sys

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc


def request(model, values):
    """Returns a request for one row of four numbers."""
    one = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])
    raw = np.array(values, np.float32).tobytes()
    return service_pb2.ModelInferRequest(model_name=model, inputs=[one], raw_input_contents=[raw])


def stop(stub):
    """Asks a slow model six times at once, and leaves a stream open; the server is stopped meanwhile."""
    requests = queue.Queue()
    answers = stub.ModelStreamInfer(iter(requests.get, None))
    requests.put(request("slow", [1, 2, 3, 4]))
    first = next(answers)
    assert not first.error_message, first
    calls = [stub.ModelInfer.future(request("slow", [1, 2, 3, 4])) for _ in range(6)]
    for call in calls:
        assert np.frombuffer(call.result(timeout=120).raw_output_contents[0], np.float32).tolist() == [1, 2, 3, 4]
    try:
        next(answers)
        raise AssertionError("the stream goes on")
    except grpc.RpcError as error:
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping"), error
    requests.put(None)


def leave(stub):
    """Gives up a call, and stays: the connection is not closed."""
    call = stub.ModelInfer.future(request("patient", [1e12, 0, 0, 0]))
    sys.stdin.readline()
    call.cancel()
    sys.stdin.readline()


def main():
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["stop", "leave"])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server")
    arguments = parser.parse_args()
    with grpc.insecure_channel(arguments.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        {"stop": stop, "leave": leave}[arguments.what](stub)


if __name__ == "__main__":
    main()
