"""Compares a server's answers for the sample models, as KServe's Python client reads them, with ONNX Runtime in Python.

    hedef serve models                                                                 # (by the caller)
    python kserve_client.py --url HOST:PORT --repository models/

Every model is asked over v2 with JSON and with bytes, over gRPC, and over v1 where its outputs can be told apart there. The
client has no call for metadata. What it asks of a v1 server that is alive, `{"status": "alive"}` at `/`, is not here:
Azure Machine Learning has `Healthy` there.

Prints a line per model; the exit code is 1 if an answer is off.
"""

import argparse
import asyncio
import importlib.util
import sys
import types
from pathlib import Path

import httpx
import numpy as np
import onnxruntime

from onnx_cases import compare_arrays
from reference import DATATYPES, SAME, SEED, unzipped, values

# The package's own start brings its server and Kubernetes' client, which its inference client does without.
spec = importlib.util.find_spec("kserve")
sys.modules["kserve"] = types.ModuleType("kserve")
sys.modules["kserve"].__path__ = list(spec.submodule_search_locations)
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig  # noqa: E402
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput  # noqa: E402


async def main():
    """Checks every model of the repository."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server that serves the repository")
    parser.add_argument("--repository", type=Path, required=True, help="the folder of the sample models")
    arguments = parser.parse_args()
    base = f"http://{arguments.url}"
    rest = {version: InferenceRESTClient(RESTConfig(protocol=version)) for version in ("v1", "v2")}
    async with InferenceGRPCClient(arguments.url) as stub:
        clients = (base, rest["v1"], rest["v2"], stub)
        problems = await health(clients)
        folders = sorted(path.parent for path in arguments.repository.glob("*/model.toml"))
        for folder in folders:
            found = await model(clients, folder)
            print(f"FAILED {folder.name}" if found else f"ok {folder.name}")
            problems += found
        for problem in problems:
            print(problem)
    print(f"{len(folders)} models, {len(problems)} failures")
    sys.exit(1 if problems or not folders else 0)


async def health(clients):
    """Returns what is wrong with the verdicts on the server, and on a model that is not there."""
    base, v1, v2, stub = clients
    found = [
        await v2.is_server_live(base),
        await v2.is_server_ready(base),
        await stub.is_server_live(),
        await stub.is_server_ready(),
    ]
    problems = [] if found == [True] * 4 else [f"live and ready: {found}"]
    # It raises an error for v1 alone.
    missing = [await v2.is_model_ready(base, "nothing"), await stub.is_model_ready("nothing")]
    try:
        missing.append(await v1.is_model_ready(base, "nothing"))
    except httpx.HTTPStatusError as error:
        missing.append(error.response.status_code)
    if missing != [False, False, 404]:
        problems.append(f"a model that is not there is ready: {missing}")
    return problems


async def model(clients, folder):
    """Returns what is wrong with the answers for one model."""
    base, v1, v2, stub = clients
    name, problems = folder.name, []
    ready = [await v1.is_model_ready(base, name), await v2.is_model_ready(base, name), await stub.is_model_ready(name)]
    if ready != [True] * 3:
        problems.append(f"{name} is ready: {ready}")
    version = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    session = onnxruntime.InferenceSession(folder / str(version) / "model.onnx", providers=["CPUExecutionProvider"])
    random, outputs = np.random.default_rng(SEED), [one.name for one in session.get_outputs()]
    for rows in (1, 3):
        feeds = {one.name: (DATATYPES[one.type], values(random, one, rows)) for one in session.get_inputs()}
        wanted = session.run(None, {one: array for one, (_, array) in feeds.items()})
        wanted = dict(zip(outputs, map(unzipped, wanted)))
        for binary in (False, True):
            answer = await v2.infer(base, request(name, feeds, outputs, binary), model_name=name)
            problems += differences(f"{name}, {rows} rows, v2, binary {binary}", wanted, answer)
            answer = await stub.infer(request(name, feeds, outputs, binary))
            problems += differences(f"{name}, {rows} rows, gRPC, raw {binary}", wanted, answer)
        if len(feeds) == 1:
            [(_, array)] = feeds.values()
            answer = await v1.infer(base, {"instances": array.tolist()}, model_name=name)
            problems += predictions(f"{name}, {rows} rows, v1", wanted, answer["predictions"])
    return problems


def request(name, feeds, outputs, binary):
    """Returns a request; with `binary`, for answers in bytes too."""
    inputs = []
    for one, (datatype, array) in feeds.items():
        made = InferInput(one, list(array.shape), datatype)
        made.set_data_from_numpy(array, binary_data=binary)
        inputs.append(made)
    wanted = [RequestedOutput(one, {"binary_data": binary}) for one in outputs]
    return InferRequest(name, inputs, request_id="one", request_outputs=wanted)


def differences(where, wanted, answer):
    """Returns the outputs that differ, in words."""
    found = {one.name: one.as_numpy() for one in answer.outputs}
    if answer.id != "one" or list(found) != list(wanted):
        return [f"{where}: expected {list(wanted)} for `one`, got {list(found)} for `{answer.id}`"]
    return compared(where, wanted, found)


def predictions(where, wanted, found):
    """Returns the outputs of v1 that differ: a value for each row, or an object where there are several outputs."""
    if len(wanted) == 1:
        [name] = wanted
        found = [{name: row} for row in found]
    by_name = {name: np.array([row[name] for row in found]).astype(array.dtype) for name, array in wanted.items()}
    return compared(where, wanted, by_name)


def compared(where, wanted, found):
    """Returns the arrays that differ, in words."""
    differing = {name: compare_arrays(array, texts(found[name], array), **SAME) for name, array in wanted.items()}
    return [f"{where}, output `{name}`: {difference}" for name, difference in differing.items() if difference]


def texts(found, wanted):
    """Returns strings as ONNX Runtime has them: the client leaves them as bytes."""
    if wanted.dtype != object:
        return found
    decoded = [one.decode() if isinstance(one, bytes) else one for one in found.ravel()]
    return np.array(decoded, object).reshape(found.shape)


if __name__ == "__main__":
    asyncio.run(main())
