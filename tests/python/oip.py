"""A small client of the Open Inference Protocol v2 over HTTP, independent of Hedef and of Triton.

It exists so that the reference tests can reach every corner that ready clients hide: mixed data
types, JSON and binary tensors for all of them, and the server's exact words when it refuses.
"""

import http.client
import json
import struct
import threading
from urllib.parse import quote, urlsplit

import ml_dtypes
import numpy as np

# v2 data type -> the NumPy type that holds it. BYTES are Python strings in object arrays.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}

# ONNX element type (TensorProto.DataType) -> v2 data type; what is missing, v2 cannot carry.
DATATYPES = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
    16: "BF16",
}


class Refused(Exception):
    """The server answered with an error status; the text is the server's own."""

    def __init__(self, status, message):
        """Keeps the status beside the text."""
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Client:
    """Talks to one server, with one kept-alive connection per thread."""

    def __init__(self, url, timeout=60):
        """Takes a base address such as http://127.0.0.1:8080; the timeout is in seconds."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self._address = (parts.hostname, parts.port or 80)
        self._timeout = timeout
        self._local = threading.local()

    def call(self, method, path, body=None, headers=None):
        """Returns (headers, body) of a 200 answer; raises Refused for any other status."""
        headers = headers or {}
        for last in (False, True):
            reused = getattr(self._local, "connection", None)
            connection = reused or http.client.HTTPConnection(*self._address, timeout=self._timeout)
            self._local.connection = connection
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                break
            except (ConnectionError, http.client.RemoteDisconnected):
                # A server may close an idle connection at any time: one new try, never on a new one.
                connection.close()
                self._local.connection = None
                if last or reused is None:
                    raise
        if answer.status != 200:
            raise Refused(answer.status, error_text(content))
        return answer.headers, content

    def get(self, path):
        """Returns the JSON value at a path."""
        return json.loads(self.call("GET", path)[1])

    def load(self, model):
        """Loads a model; returns when it is ready."""
        self.call("POST", f"/v2/repository/models/{quote(model)}/load")

    def unload(self, model):
        """Unloads a model."""
        self.call("POST", f"/v2/repository/models/{quote(model)}/unload")

    def infer(self, model, inputs, outputs=None, binary=True):
        """Scores `inputs` ({name: (datatype, array)}) and returns the outputs as {name: (datatype, array)}.

        `outputs` names the wanted ones, None means all. Tensors travel as bytes or, with
        binary=False, as JSON.
        """
        header, blobs = {"inputs": []}, []
        for name, (datatype, array) in inputs.items():
            tensor = {"name": name, "shape": list(array.shape), "datatype": datatype}
            if binary:
                blobs.append(to_bytes(datatype, array))
                tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                tensor["data"] = to_json(datatype, array)
            header["inputs"].append(tensor)
        if outputs is not None:
            header["outputs"] = [{"name": name} for name in outputs]
        if binary:
            header["parameters"] = {"binary_data_output": True}
        text = json.dumps(header).encode()
        headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if binary:
            headers["Inference-Header-Content-Length"] = str(len(text))
        return decode(*self.call("POST", f"/v2/models/{quote(model)}/infer", text + b"".join(blobs), headers))


def decode(headers, content):
    """Returns {name: (datatype, array)} of an inference answer, whatever mix of JSON and bytes it is."""
    length = headers.get("Inference-Header-Content-Length")
    at = int(length) if length is not None else len(content)
    result = {}
    for tensor in json.loads(content[:at])["outputs"]:
        name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            result[name] = (datatype, from_json(datatype, tensor["data"], shape))
        else:
            result[name] = (datatype, from_bytes(datatype, content[at : at + size], shape))
            at += size
    if at != len(content):
        raise ValueError(f"{len(content) - at} bytes after the last tensor")
    return result


def error_text(content):
    """Returns the message of an error body, or the body itself."""
    try:
        return json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return content[:500].decode("utf-8", "replace")


def to_bytes(datatype, array):
    """Encodes an array as the binary tensor extension wants it."""
    if datatype != "BYTES":
        return np.ascontiguousarray(array, DTYPES[datatype]).tobytes()
    elements = [as_bytes(element) for element in array.ravel()]
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def from_bytes(datatype, content, shape):
    """Decodes the binary form; refuses a length that does not fit the shape."""
    if datatype != "BYTES":
        return np.frombuffer(content, DTYPES[datatype]).reshape(shape)
    elements, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        elements.append(content[at + 4 : at + 4 + length].decode("utf-8", "surrogateescape"))
        at += 4 + length
    if at != len(content):
        raise ValueError("a BYTES element runs past the end of its tensor")
    return objects(elements, shape)


def to_json(datatype, array):
    """Returns the flat list that stands for an array in JSON."""
    if datatype == "BYTES":
        return [as_bytes(element).decode() for element in array.ravel()]
    if datatype in ("FP16", "BF16"):
        array = array.astype(np.float32)
    return array.ravel().tolist()


def from_json(datatype, data, shape):
    """Decodes a flat or nested list; "NaN", "Infinity" and "-Infinity" are numbers here."""
    flat = flatten(data)
    if datatype == "BYTES":
        return objects(flat, shape)
    if datatype in ("FP16", "BF16", "FP32", "FP64"):
        flat = [float(number) for number in flat]
    elif not all(type(number) is (bool if datatype == "BOOL" else int) for number in flat):
        raise ValueError(f"not all elements of this {datatype} tensor are of that kind")
    return np.array(flat, DTYPES[datatype]).reshape(shape)


def flatten(data):
    """Returns the innermost elements of nested lists."""
    if not isinstance(data, list):
        return [data]
    if not any(isinstance(element, list) for element in data):
        return data
    return [element for part in data for element in flatten(part)]


def objects(elements, shape):
    """Returns an object array: NumPy would make fixed-width text, and would drop trailing NULs."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def as_bytes(element):
    """Returns the bytes of a string element."""
    return element if isinstance(element, bytes) else str(element).encode("utf-8", "surrogateescape")
