"""The rest of the debugging guide (``pytest --guide PATH``) as it is printed: API, logs, health, breakpoints, commands.

What it says of sensors, modalities and models is in test_interface.py. The contracts themselves are tested in words of
our own beside the code that fulfils them; docs/debugging.md says where.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.clock import VirtualClock
from harness.monitor.health import HealthMonitor
from harness.monitor.log_reader import read_events
from harness.monitor.logs import StructuredLogger
from harness.rig import ApiEntry, EndpointEntry

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "debugging.md"
ELSEWHERE = {
    "check_modality_sync", "debug_fusion_layer", "debug_hardware_interface", "analyze_gradients", "analyze_activations",
    "profile_model", "TestModelDebugging",
}  # fmt: skip
"""What test_interface.py runs."""
HERE_RUN = {
    "test_api_integration", "StructuredLogger", "SystemHealthMonitor", "PerformanceMonitor", "problematic_function",
    "debug_function",
}  # fmt: skip
UTCNOW = "ignore:datetime.datetime.utcnow:DeprecationWarning"
"""The guide uses what Python 3.12 deprecated."""


def test_every_function_that_the_guide_prints_is_run_by_a_test(guide: Any) -> None:
    assert guide.defined() == ELSEWHERE | HERE_RUN
    interface = (HERE / "test_interface.py").read_text(encoding="utf-8")
    assert all(f'printed("{name}"' in interface for name in ELSEWHERE)
    this = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in this.replace(str(HERE_RUN), "") for name in HERE_RUN)


# --- API ------------------------------------------------------------------------------------------


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Our server with the reference model; its URL."""
    from harness.api.running import in_background
    from harness.api.served import serve_model
    from harness.api.server import ModelServer
    from harness.rig import ModelEntry

    served = serve_model(ModelEntry())
    try:
        with in_background(ModelServer(served), port=port) as url:
            yield url
    finally:
        served.worker.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as where:
        yield where


@pytest.fixture
def window(url: str) -> dict[str, Any]:
    """A request that the server itself gives as an example."""
    import httpx

    wanted = httpx.get(f"{url}/model").json()["inputs"]
    ecg = wanted["ecg"] if isinstance(wanted, dict) else next(one for one in wanted if one["modality"] == "ecg")
    return {"inputs": {"ecg": [[0.0] * ecg["length"]] * ecg["channels"]}}


def test_the_guides_api_test_passes_on_our_server_with_our_client(
    printed: Callable[..., Any], url: str, window: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.api.endpoints import api_client, payloads, structure_validator

    schema = {"type": "object", "required": ["outputs"], "properties": {"outputs": {"type": "array", "minItems": 1}}}
    endpoint = EndpointEntry(name="/infer", path="/infer", method="post", payload=window, schema=schema)
    api = ApiEntry(base_url=url, endpoints={"/infer": endpoint})
    check = printed("test_api_integration", validate_response_structure=structure_validator(api))
    with api_client(api) as client:
        assert check(client, payloads(api)) == {"/infer": "PASS"}
    assert "Success" in capsys.readouterr().out


def test_the_guides_api_test_names_what_is_wrong_with_a_server(
    printed: Callable[..., Any], url: str, window: dict[str, Any]
) -> None:
    from harness.api.client import ApiClient

    wrong = printed("test_api_integration", validate_response_structure=lambda data, endpoint: "result" in data)
    with ApiClient(url) as client:
        found = wrong(client, {"/infer": window, "/nowhere": {}, "/model": {}})
    assert found == {"/infer": "INVALID_RESPONSE", "/nowhere": "HTTP_404", "/model": "HTTP_405"}
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with ApiClient(f"http://127.0.0.1:{port}") as client:
        assert "refused" in wrong(client, {"/infer": window})["/infer"].removeprefix("ERROR: ").lower()


# --- logs -----------------------------------------------------------------------------------------


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Python's logging as it was before, whatever the guide's blocks do to it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    known = set(logging.Logger.manager.loggerDict)
    yield
    for handler in (*root.handlers, *_new_handlers(known)):
        if handler not in handlers:
            handler.close()
    for name in set(logging.Logger.manager.loggerDict) - known:
        logging.getLogger(name).handlers.clear()
    root.handlers[:], root.level = handlers, level


def _new_handlers(known: set[str]) -> list[logging.Handler]:
    return [h for name in set(logging.Logger.manager.loggerDict) - known for h in logging.getLogger(name).handlers]


EVENTS = ["model_inference", "data_quality_check", "user_interaction"]


@pytest.mark.filterwarnings(UTCNOW)
def test_what_the_guides_logger_writes_is_read_with_its_events(
    guide: Any, own_logging: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    tree, _ = guide.block_with("StructuredLogger")
    guide.run(tree.body, {})
    path = tmp_path / "guide.log"
    path.write_text(written.getvalue(), encoding="utf-8")
    found = read_events(path)
    assert [event.event_type for event in found.events] == EVENTS
    assert not found.broken
    assert found.events[0].data == {"model_version": "1.0", "latency_ms": 45.2}
    assert found.events[1].data == {"sensor": "heart_rate", "quality_score": 0.95}


def test_the_guides_use_of_its_logger_works_on_ours_and_keeps_the_person_out(
    guide: Any, own_logging: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, node = guide.block_with("StructuredLogger")
    use = tree.body[tree.body.index(node) + 1 :]
    guide.run(use, {"StructuredLogger": StructuredLogger})
    said = capsys.readouterr().err
    lines = [json.loads(line[line.index("{") :]) for line in said.splitlines()]
    assert [line["event_type"] for line in lines] == EVENTS
    assert all({"timestamp", "event_type", "data"} <= set(line) for line in lines)
    assert lines[0]["data"] == {"model_version": "1.0", "latency_ms": 45.2}
    assert "user123" not in said


def test_the_guides_logging_set_up_writes_what_our_reader_reads(
    guide: Any, own_logging: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = next(text for text in guide.blocks("python") if "basicConfig" in text)
    monkeypatch.chdir(tmp_path)
    logging.getLogger().handlers.clear()  # pytest's own would make basicConfig do nothing
    guide.run(ast.parse(block).body, {"__name__": "guide"})
    found = read_events(tmp_path / "debug.log")
    assert [event.level.lower() for event in found.events] == ["debug", "info", "warning", "error", "critical"]


# --- health and performance -----------------------------------------------------------------------


@pytest.mark.filterwarnings(UTCNOW)
def test_the_guides_health_monitor_and_ours_report_the_same(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from datetime import datetime

    clock = VirtualClock()
    theirs = printed("SystemHealthMonitor", time=clock_time(clock), datetime=datetime)()
    ours = HealthMonitor(clock=clock)
    for number in range(400):
        at_s = 10.0 * number
        clock.sleep_until(clock.now_ns() + 10_000_000_000)
        for monitor in (theirs, ours):
            monitor.record_metric("latency_ms", 40.0 + number % 25, at_s)
            monitor.record_metric("quality", 0.9 - 0.001 * (number % 7), at_s)
    for monitor in (theirs, ours):
        monitor.check_thresholds({"latency_ms": 50.0, "quality": 0.95, "unheard": 1.0})
    a, b = theirs.get_health_report(), ours.get_health_report()
    assert set(a["metrics"]) == set(b["metrics"]) == {"latency_ms", "quality"}
    for name, expected in a["metrics"].items():
        assert {key: b["metrics"][name][key] for key in expected} == pytest.approx(expected)
    assert [text for _, text in a["alerts"]] == ["ALERT: latency_ms above threshold: 59.50 > 50.0"]
    assert [alert[1] for alert in b["alerts"]] == [text for _, text in a["alerts"]]
    assert capsys.readouterr().out.count("ALERT: latency_ms") >= 1


def clock_time(clock: VirtualClock) -> Any:
    """What the guide takes for the module of that name."""
    return type("time", (), {"time": staticmethod(lambda: clock.now_ns() / 1e9)})


def test_the_guides_performance_monitor_runs_beside_ours(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("GPUtil", reason="not run: needs GPUtil (pip install GPUtil setuptools)")
    printed("PerformanceMonitor", torch=torch)().report()
    said = capsys.readouterr().out
    found = dict(re.findall(r"^(Elapsed time|CPU usage|Memory usage): ([\d.]+)[s%]$", said, re.MULTILINE))
    assert set(found) == {"Elapsed time", "CPU usage", "Memory usage"}
    assert ("GPU usage" in said) == torch.cuda.is_available()


def test_the_guides_gpu_memory_summary_is_printed(guide: Any, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("not run: torch finds no CUDA device, whose memory the guide prints")
    tree, _ = guide.block_with("profile_model")
    guide.run(tree.body, {})
    assert "CUDA" in capsys.readouterr().out


# --- interactive ----------------------------------------------------------------------------------


def in_a_terminal(script: Path, typed: bytes, cwd: Path) -> str:
    """What a script prints on a terminal of its own on which this is typed."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "IPYTHONDIR": str(cwd), "PROMPT_TOOLKIT_NO_CPR": "1"}
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment
    ) as process:
        os.close(slave)
        os.write(master, typed)
        said = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
        process.wait(timeout=60)
    os.close(master)
    return said.decode(errors="replace")


@pytest.mark.parametrize(("name", "typed"), [("problematic_function", b"data\nc\n"), ("debug_function", b"exit\n")])
def test_the_guides_breakpoints_stop_in_its_functions_and_go_on(
    guide: Any, tmp_path: Path, name: str, typed: bytes
) -> None:
    pytest.importorskip("IPython", reason="not run: needs IPython (pip install 'spiral-hil[shell]')")
    block = next(text for text in guide.blocks("python") if "set_trace" in text)
    script = tmp_path / "script.py"
    script.write_text(f"def process_data(data):\n    return data * 2\n\n{block}\nprint('went on:', {name}(21))\n")
    said = in_a_terminal(script, typed, tmp_path)
    assert "went on: 42" in said
    assert "(Pdb)" in said or "In [" in said


# --- commands -------------------------------------------------------------------------------------


def commands(guide: Any) -> list[str]:
    """Lines of the guide's shell blocks, without their comments."""
    lines = [line.split("#")[0].strip() for block in guide.blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_guides_commands_are_those_that_are_tried_here(guide: Any) -> None:
    programs = {"python", "nvidia-smi", "watch", "netstat", "curl"}
    assert {line.split()[0] for line in commands(guide)} == programs
    assert sum(line.startswith("python") for line in commands(guide)) == 4


def test_the_guides_python_commands_run(guide: Any, tmp_path: Path) -> None:
    pytest.importorskip("memory_profiler", reason="not run: needs memory_profiler (pip install memory_profiler)")
    (tmp_path / "script.py").write_text("print('it ran')\n")
    for line in commands(guide):
        if line.startswith("python") and "memory_summary" not in line:
            line = line.replace("python", f"'{sys.executable}'", 1)
            done = subprocess.run(["sh", "-c", line], input="c\nq\n", capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            assert "it ran" in done.stdout or re.match(r"\d+\.\d+", done.stdout), line


def test_the_guides_network_commands_see_our_server(guide: Any) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("not run: somebody else serves on port 8000, which the guide names")
    lines = [line for line in commands(guide) if line.split()[0] in ("curl", "netstat")]
    absent = [line.split()[0] for line in lines if shutil.which(line.split()[0]) is None]
    if absent:
        pytest.skip(f"not run: needs {', '.join(absent)} (apt-get install curl net-tools)")
    with serving(port=8000):
        said = [subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout for line in lines]
    assert any(":8000" in text for text in said)
    assert any(json.loads(text)["status"] == "ok" for text in said if text.startswith("{"))


# --- the document ---------------------------------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """Item of the guide -> cells of its row in docs/debugging.md."""
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].split("`")[1]: row[1:] for row in cells}


def test_the_document_has_a_row_for_every_item_of_the_guide_and_for_nothing_else(guide: Any) -> None:
    expected = [*guide.items(), *(f"{name}()" for name in sorted(guide.defined()))]
    expected += [f"command/{number + 1}" for number in range(len(commands(guide)))]
    assert sorted(rows()) == sorted(expected)


def test_every_test_that_the_document_names_exists() -> None:
    named = {name for row in rows().values() for name in re.findall(r"`(test_\w+\.py::test_\w+)`", row[-1])}
    assert named
    for name in sorted(named):
        file, function = name.split("::")
        found = list(HERE.parent.rglob(file))
        assert found, name
        assert any(f"def {function}(" in path.read_text(encoding="utf-8") for path in found), name


def test_every_row_of_the_document_names_a_test() -> None:
    assert all("`test_" in row[-1] for row in rows().values())


def test_every_command_that_the_document_names_is_one() -> None:
    from harness.cli import build_parser

    known = {line.split()[0] for line in build_parser().format_help().splitlines() if re.match(r" {4}\w", line)}
    named = {match for row in rows().values() for match in re.findall(r"`hil (\w+)", " ".join(row))}
    assert named
    assert named <= known
