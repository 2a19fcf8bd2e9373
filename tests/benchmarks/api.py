"""What HTTP adds to a model: its engine called directly, ``hil serve``, and the shortest FastAPI application.

    python tests/benchmarks/api.py [--n 600]

All three run the reference network on the same window of every modality, in turn, so that whatever else this machine
does hits them alike. The client is the same httpx client for both servers, over loopback with keep-alive, and the
servers are processes of their own. The figures are milliseconds per request, as the client sees them; the body is
encoded beforehand and the answer is decoded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

from drivers.clock import RealClock
from harness.api.wire import decode_response, encode_request
from harness.model.engine import make_engine
from harness.model.inputs import INPUTS
from harness.model.load import load_model
from harness.rig import ModelEntry

MINIMAL = """
import sys
import numpy as np, torch, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from harness.model.engine import make_engine
from harness.model.load import load_model
from harness.rig import ModelEntry

class Request(BaseModel):
    inputs: dict[str, list[list[float]]]
    quality: dict[str, float]

class Answer(BaseModel):
    outputs: list[list[float]]
    names: list[str]
    model: str
    sha256: str
    ms: float

app, entry = FastAPI(), ModelEntry()
model = load_model(entry)
engine = make_engine(entry, model)

@app.post("/infer")
KIND infer(request: Request) -> Answer:
    inputs = {name: np.array(rows, dtype=np.float32)[None] for name, rows in request.inputs.items()}
    quality = {name: np.array([level], dtype=np.float32) for name, level in request.quality.items()}
    outputs = engine.infer(inputs, quality)
    return Answer(outputs=outputs.tolist(), names=model.outputs, model=model.name, sha256=model.sha256, ms=0.0)

torch.set_num_threads(1)
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""
"""KIND is ``def``, which FastAPI runs in a pool of threads, or ``async def``, in its event loop."""


def free_port() -> int:
    """One that nobody listens on now."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def started(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """A server that answers; RuntimeError if it does not within a minute."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    clock = RealClock()
    until_ns = clock.now_ns() + 60_000_000_000
    while clock.now_ns() < until_ns:
        try:
            httpx.get(f"http://127.0.0.1:{port}/openapi.json", timeout=5.0)
        except httpx.TransportError:
            clock.sleep_until(clock.now_ns() + 100_000_000)
        else:
            return process
    process.kill()
    raise RuntimeError(f"{command[:4]} did not answer")


def measure(n: int, batch: int) -> dict[str, Any]:
    """Milliseconds per call of each way (n,), of the same body."""
    rng = np.random.default_rng(0)
    inputs = {k: rng.normal(size=(batch, s.channels, s.length)).astype(np.float32) for k, s in INPUTS.items()}
    quality = {k: np.full(batch, 0.9, np.float32) for k in INPUTS}
    flat = {k: v[0] for k, v in inputs.items()}
    body = json.dumps(encode_request(flat, dict.fromkeys(INPUTS, 0.9))).encode()
    entry = ModelEntry()
    engine = make_engine(entry, load_model(entry))
    ports = {name: free_port() for name in ("hil serve", "minimal FastAPI, def", "minimal FastAPI, async def")}
    commands = {
        "hil serve": [sys.executable, "-m", "harness", "serve", "--port", str(ports["hil serve"])],
        **{
            f"minimal FastAPI, {kind}": [
                sys.executable, "-c", MINIMAL.replace("KIND", kind), str(ports[f"minimal FastAPI, {kind}"])
            ]
            for kind in ("def", "async def")
        },
    }  # fmt: skip
    processes = [started(command, ports[name]) for name, command in commands.items()]
    clock = RealClock()
    with httpx.Client(timeout=60.0) as client:

        def post(port: int) -> Callable[[], Any]:
            url, headers = f"http://127.0.0.1:{port}/infer", {"content-type": "application/json"}
            return lambda: decode_response(client.post(url, content=body, headers=headers).json()).outputs

        ways: dict[str, Callable[[], Any]] = {"engine, called directly": lambda: engine.infer(inputs, quality)}
        ways |= {name: post(port) for name, port in ports.items()}
        expected = engine.infer(inputs, quality)
        for call in ways.values():
            assert np.array_equal(call(), expected)
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(n):
            for name, call in ways.items():
                began_ns = clock.now_ns()
                call()
                spent[name].append((clock.now_ns() - began_ns) / 1e6)
    for process in processes:
        process.terminate()
        process.wait()
    return {"bytes": len(body), **{name: np.array(values[n // 10 :]) for name, values in spent.items()}}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=600, help="requests of each way (default 600)")
    found = measure(parser.parse_args().n, 1)
    print(f"one window of {len(INPUTS)} modalities, {found.pop('bytes')} bytes of JSON")
    print(f"{'':28}{'p50 ms':>9}{'p99 ms':>9}{'over the engine, p50':>23}")
    engine = float(np.median(found["engine, called directly"]))
    for name, values in found.items():
        p50, p99 = np.percentile(values, [50, 99])
        print(f"{name:28}{p50:9.2f}{p99:9.2f}{p50 - engine:20.2f} ms")


if __name__ == "__main__":
    main()
