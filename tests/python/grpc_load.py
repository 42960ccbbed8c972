"""Loads a server with Triton's client and with streams until it takes no connections any more.

    python grpc_load.py --url HOST:PORT

Prints `loaded` once there is load, and in the end how many requests were answered; the exit code is 1 if one failed. No
failure is a connection refused, and a stream that ends because the server stops: its last message was not taken, and is
sent again on the next.
"""

import argparse
import queue
import sys
import threading

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

FLOWER = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
CALLERS, STREAMS, LOADED = 6, 3, 300


class Load:
    """What came of all requests."""

    def __init__(self):
        self.lock, self.answered, self.wrong = threading.Lock(), 0, []

    def right(self):
        """Counts an answer."""
        with self.lock:
            self.answered += 1
            if self.answered == LOADED:
                print("loaded", flush=True)

    def fault(self, what):
        """Keeps a failure."""
        with self.lock:
            self.wrong.append(what)


def call(load, url):
    """Scores again and again."""
    client = triton.InferenceServerClient(url)
    flower = triton.InferInput("features", [1, 4], "FP32")
    flower.set_data_from_numpy(FLOWER)
    while True:
        try:
            answer = client.infer("iris", [flower])
        except InferenceServerException as error:
            if "Connection refused" not in str(error):
                load.fault(f"a call: {error}")
            return
        if answer.as_numpy("label")[0] == b"setosa":
            load.right()
        else:
            load.fault(f"a call: {answer.get_response()}")


def converse(load, url):
    """Opens stream after stream and sends messages, each when the last is answered."""
    one = service_pb2.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 4])
    request = service_pb2.ModelInferRequest(model_name="iris", inputs=[one], raw_input_contents=[FLOWER.tobytes()])
    with grpc.insecure_channel(url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        while True:
            requests = queue.Queue()
            answers = stub.ModelStreamInfer(iter(requests.get, None))
            try:
                while True:
                    requests.put(request)
                    answer = next(answers)
                    if b"setosa" in answer.infer_response.raw_output_contents[0]:
                        load.right()
                    else:
                        load.fault(f"a stream: {answer}")
            except grpc.RpcError as error:
                requests.put(None)
                if error.details() == "the server is stopping":
                    continue
                if "Connection refused" not in error.details():
                    load.fault(f"a stream: {error}")
                return


def main():
    """Runs all callers to their end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server that will be stopped")
    url, load = parser.parse_args().url, Load()
    work = [call] * CALLERS + [converse] * STREAMS
    threads = [threading.Thread(target=target, args=(load, url)) for target in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{load.answered} answered, {len(load.wrong)} failed: {load.wrong[:3]}")
    sys.exit(1 if load.wrong else 0)


if __name__ == "__main__":
    main()
