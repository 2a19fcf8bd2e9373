"""``hil health``: of a server, of a recorded run, of a log."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from drivers.clock import VirtualClock, to_ns
from harness.cli import main
from harness.monitor.health import HealthMonitor
from harness.monitor.health_source import from_log, from_run
from harness.monitor.logs import EventLog
from harness.monitor.resources import FILE, row_line
from harness.recorder import Recorder
from harness.recording_files import RecordingError
from harness.rig import HealthEntry, Rig, SensorEntry

RIG = Rig("bench", {"chest": SensorEntry("chest", "openbci-cyton")}, limits={"latency": {}})


@contextmanager
def answering(body, status=200):
    """A server on this machine that answers every GET like that, and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *given):
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def a_report(limit, status=True):
    monitor = HealthMonitor(VirtualClock())
    for value in (20.0, 30.0):
        monitor.record_metric("latency_ms", value)
    monitor.check_thresholds({"latency_ms": limit})
    return ({"status": monitor.status} if status else {}) | monitor.get_health_report()


# --- a server ---------------------------------------------------------------------------------


def test_a_healthy_server_exits_with_0_and_shows_its_metrics(capsys):
    with answering(a_report(100.0)) as (url, asked):
        assert main(["health", url]) == 0
    assert asked == ["/health"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["latency_ms", "30", "25", "20", "30"] in lines
    assert lines[-1][-1] == "ok"


def test_a_server_that_alerts_exits_with_1_and_says_what(capsys):
    with answering(a_report(24.0)) as (url, _):
        assert main(["health", f"{url}/"]) == 1
    assert "ALERT: latency_ms above threshold: 25.00 > 24.0" in capsys.readouterr().out


def test_a_report_without_a_status_is_judged_by_its_alerts(capsys):
    for limit, code in ((100.0, 0), (24.0, 1)):
        with answering(a_report(limit, status=False)) as (url, _):
            assert main(["health", url]) == code


def test_a_server_whose_model_is_stuck_is_an_alert_and_no_unknown_server(capsys):
    stuck = {
        "status": "alert", "timestamp": "2026-01-01T00:00:00Z", "alerts": [[0.0, "ALERT: the model is in one call"]],
        "metrics": {"latency_ms": {"current": 1.0, "average": 1.0, "min": 1.0, "max": 1.0}}, "reason": "it is stuck",
    }  # fmt: skip
    with answering(stuck, 503) as (url, _):
        assert main(["health", url]) == 1
    out = capsys.readouterr().out
    assert "in one call" in out and "it is stuck" in out
    with answering(b"upstream is down", 503) as (url, _):
        assert main(["health", url]) == 3
    assert "HTTP 503" in capsys.readouterr().err


def test_the_report_as_json_is_what_the_server_said(capsys):
    report = a_report(100.0)
    with answering(report) as (url, asked):
        assert main(["health", f"{url}/v2/health?x=1", "--json", "-"]) == 0
    assert asked == ["/v2/health?x=1"]
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 404, "answers HTTP 404"),
        ({"error": "no"}, 500, "answers HTTP 500"),
        (b"<html>", 200, "is no health report"),
        ([], 200, "expected an object with metrics, found '[]'"),
        ({"metrics": {"a": {"current": 1}}, "alerts": []}, 200, "metric 'a': expected current, average, min and max"),
        ({"metrics": {}}, 200, "expected alerts as pairs of time and text"),
        ({"metrics": {}, "alerts": [3]}, 200, "expected alerts as pairs of time and text"),
        ({"metrics": {"a": dict.fromkeys(("current", "average", "min", "max"), "x")}, "alerts": []}, 200, "metric 'a'"),
    ],
)
def test_an_answer_that_is_no_report_exits_with_3(capsys, body, status, message):
    with answering(body, status) as (url, _):
        assert main(["health", url]) == 3
    assert message in capsys.readouterr().err


def test_a_server_that_is_not_there_exits_with_3(capsys):
    with answering({}) as (url, _):
        pass
    assert main(["health", url]) == 3
    assert "cannot be reached" in capsys.readouterr().err


def test_ours_answers_what_is_asked(capsys):
    pytest.importorskip("starlette", reason="needs starlette: pip install 'spiral-hil[api]'")
    pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'spiral-hil[api]'")
    from harness.api.running import in_background
    from harness.api.served import serve_model
    from harness.api.server import ModelServer
    from harness.rig import ModelEntry

    served = serve_model(ModelEntry())
    try:
        with in_background(ModelServer(served), port=0) as url:
            assert main(["health", url, "--json", "-"]) == 0
    finally:
        served.worker.stop()
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "ok" and "rss_mb" in report["metrics"]


# --- a run ------------------------------------------------------------------------------------


@pytest.fixture
def a_run(tmp_path, some_windows):
    """The folder of a run with windows of these latencies, as the recorder leaves it."""

    def record(latency_ms, rig=RIG, host=None):
        clock = VirtualClock(to_ns(100.0))
        recorder = Recorder(tmp_path / "run", rig, clock, {"chest": []})
        recorder.start(to_ns(100.0))
        windows = some_windows(len(latency_ms), np.nan_to_num(latency_ms), waited_for=())
        stamps = windows.stamps_ns.copy()
        stamps[np.isnan(latency_ms), 4:] = -1
        recorder.windows(stamps, windows.late, windows.outputs)
        recorder.finish(to_ns(130.0), host=host or {}, start_ns=to_ns(100.0))
        return tmp_path / "run"

    return record


def test_the_health_of_a_run_is_worked_out_from_its_recording(a_run):
    latency_ms = np.arange(100.0) / 2
    report = from_run(a_run(latency_ms, host={"utc": "2026-01-01T12:00:00+00:00"}))
    last = latency_ms[-10:]
    assert report["metrics"]["latency_ms"] == pytest.approx(
        {"current": last[-1], "average": last.mean(), "min": last[0], "max": last[-1]}
    )
    assert report["metrics"]["misses"]["max"] == 0.0
    assert report["status"] == "ok" and report["alerts"] == []


def test_a_run_that_was_too_slow_for_a_while_has_alerted(a_run, capsys):
    slow = np.full(100, 20.0)
    slow[40:60] = 150.0
    slow[70] = np.nan
    folder = a_run(slow, host={"utc": "2026-01-01T12:00:00+00:00"})
    report = from_run(folder)
    assert report["status"] == "alert"
    (_, missed), (at_s, text) = sorted(report["alerts"], key=lambda alert: "latency" in alert[1])
    assert missed.startswith("ALERT: misses above threshold: ")
    assert (report["windows"], report["missed"]) == (100, 21)
    # the mean of ten exceeds 100 ms with the seventh slow one: 7 * 150 + 3 * 20 = 111 * 10; due at 4 + 46 * 0.08 s
    assert text == "ALERT: latency_ms above threshold: 111.00 > 100.0"
    assert at_s == pytest.approx(1767268800.0 + 4.0 + 46 * 0.08)
    assert main(["health", str(folder)]) == 1
    assert main(["health", str(folder), "--above", "latency_ms=200"]) == 1
    assert main(["health", str(folder), "--above", "latency_ms=200", "--above", "misses=20"]) == 0
    out = capsys.readouterr().out
    assert "12:00:07 ALERT: latency_ms" in out
    assert out.count("21 of 100 windows brought no answer, or brought it too late") == 3


def test_one_window_without_an_answer_alerts_however_long_ago(a_run):
    latency_ms = np.full(300, 20.0)
    latency_ms[30] = np.nan
    report = from_run(a_run(latency_ms))
    assert report["metrics"]["latency_ms"]["max"] == 20.0 and report["metrics"]["misses"]["max"] == 0.0
    ((_, text),) = report["alerts"]
    assert report["status"] == "alert" and text.startswith("ALERT: misses above threshold: ")


def test_what_a_recording_does_not_keep_stays_in_the_table_and_is_judged_as_it_was_reported(a_run):
    folder = a_run(np.full(50, 20.0))
    said = a_report(24.0)
    said["metrics"]["inbox_depth"] = {"current": 3.0, "average": 2.0, "min": 1.0, "max": 3.0}
    (folder / "report.json").write_text(json.dumps({"host": {"health": said}}))
    report = from_run(folder, {"latency_ms": 50.0})
    assert report["metrics"]["inbox_depth"] == said["metrics"]["inbox_depth"]
    assert report["metrics"]["latency_ms"]["max"] == 20.0
    assert from_run(folder, {"inbox_depth": 2.5})["status"] == "ok"
    assert from_run(folder, {"inbox_depth": 1.5})["alerts"][0][1] == "ALERT: inbox_depth above threshold: 2.00 > 1.5"


def test_thresholds_of_ones_own_leave_the_quality_in_the_table(tmp_path, capsys):
    rig = (
        "schema: 1\nname: one\nduration_s: 20\nseed: 7\nsimulate: true\n"
        "sensors:\n  chest: {sensor: openbci-cyton, settings: {streams: {ecg: [1]}}}\nlimits:\n  delivery: {}\n"
    )
    (tmp_path / "one.rig.yaml").write_text(rig)
    folder = tmp_path / "run"
    assert main(["run", str(tmp_path / "one.rig.yaml"), "--virtual", "--out", str(folder), "--quiet"]) == 0
    assert main(["health", str(folder), "--json", str(tmp_path / "a.json"), "--quiet"]) == 0
    assert main(["health", str(folder), "--above", "latency_ms=99", "--json", str(tmp_path / "b.json"), "--quiet"]) == 0
    a, b = (json.loads((tmp_path / name).read_text())["metrics"] for name in ("a.json", "b.json"))
    assert a == b and {"latency_ms", "misses", "quality/chest/ecg", "quality/chest/accel"} <= set(a)
    assert a["quality/chest/ecg"]["average"] > 0.5
    assert main(["health", str(folder), "--above", "quality/chest/ecg=0.1", "--quiet"]) == 1
    assert main(["health", str(folder), "--above", "quality/chest/egc=0.1", "--quiet"]) == 2
    assert "did you mean 'quality/chest/ecg'?" in capsys.readouterr().err


def test_a_metric_that_no_run_has_is_a_usage_error_and_not_ok(a_run, capsys):
    folder = str(a_run(np.full(50, 20.0)))
    assert main(["health", folder, "--above", "latencyms=5"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "no metric 'latencyms'; did you mean 'latency_ms'?" in err
    assert "latency_ms, misses, inbox_depth, rss_mb" in err
    assert main(["health", folder, "--above", "rss_mb=5"]) == 0  # there is one, and it has no values here
    assert main(["health", folder, "--above", "quality/chest/ecg=0.5"]) == 0  # a sensor that never came
    assert main(["health", folder, "--above", "quality/wrist/ecg=0.5"]) == 2


def test_what_the_process_used_is_part_of_it(a_run):
    folder = a_run(np.full(50, 20.0))
    rows = [(to_ns(100.0 + second), {"rss_bytes": 3e8 + 1e6 * second, "inbox_depth": 2.0}) for second in range(20)]
    (folder / FILE).write_bytes(b"".join(row_line(row) for row in rows))
    report = from_run(folder)
    assert report["metrics"]["rss_mb"] == {"current": 319.0, "average": 314.5, "min": 310.0, "max": 319.0}
    assert report["metrics"]["inbox_depth"]["max"] == 2.0
    assert from_run(folder, {"rss_mb": 310.0})["status"] == "alert"


def test_thresholds_of_the_rig_count(a_run):
    rig = replace(RIG, health=HealthEntry(above={"latency_ms": 10.0}))
    assert from_run(a_run(np.full(50, 20.0), rig))["status"] == "alert"


def test_what_was_reported_in_real_time_is_shown_as_it_was(a_run):
    folder = a_run(np.full(50, 20.0))
    said = a_report(24.0)
    (folder / "report.json").write_text(json.dumps({"host": {"health": said}}))
    report = from_run(folder)
    assert report["metrics"] == said["metrics"] and report["status"] == "alert"
    assert from_run(folder, {"latency_ms": 50.0})["status"] == "ok"  # asked for other thresholds: worked out again


def test_a_run_without_a_window_has_no_health(a_run, capsys):
    assert main(["health", str(a_run(np.empty(0)))]) == 3
    assert "holds no metric" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(RecordingError):
        from_run(tmp_path)
    assert main(["health", str(tmp_path)]) == 2
    assert main(["health", str(tmp_path / "absent")]) == 2


# --- a log ------------------------------------------------------------------------------------


def test_the_health_of_a_log_is_that_of_its_events(tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    with EventLog(path) as log:
        for number in range(20):
            log.log_event("model_inference", n=12, latency_ms=float(number), max_ms=30.0, misses=number % 2)
        log.log_event("data_quality_check", sensor="chest", stream="chest/ecg", quality_score=0.75, flags=[])
        log.log_event("data_quality_check", sensor="heart_rate", quality_score=0.95)
        log.log_event("data_quality_check", sensor="wrist", quality_score=None)
    report = from_log(path, {"misses": 1.0})
    assert report["status"] == "ok" and report["missed"] == 10
    assert [text for _, text in from_log(path)["alerts"]] == ["ALERT: misses above threshold: 0.50 > 0.0"]
    assert report["metrics"]["latency_ms"] == {"current": 19.0, "average": 14.5, "min": 10.0, "max": 19.0}
    assert report["metrics"]["misses"]["average"] == 0.5
    assert report["metrics"]["quality/chest/ecg"]["current"] == 0.75
    assert report["metrics"]["quality/heart_rate"]["current"] == 0.95
    assert main(["health", str(path)]) == 1
    assert "10 windows brought no answer, or brought it too late" in capsys.readouterr().out
    assert main(["health", str(path), "--above", "misses=1"]) == 0
    assert main(["health", str(path), "--above", "latency_ms=14", "--above", "misses=1"]) == 1
    assert main(["health", str(path), "--above", "latencyms=5"]) == 2
    assert "no metric 'latencyms'; did you mean 'latency_ms'?" in " ".join(capsys.readouterr().err.split())
    assert main(["health", str(path), "--above", "rss_mb=1", "--above", "misses=1"]) == 0
    assert main(["health", str(path), "--above", "quality/chest/egc=1", "--above", "misses=1"]) == 2


def test_misses_that_a_log_alerts_of_itself_are_told_once(tmp_path):
    path = tmp_path / "run.jsonl"
    with EventLog(path) as log:
        log.log_event("run_started", sensors={"chest": "openbci-cyton"})
        log.log_event("model_inference", n=12, latency_ms=5.0, max_ms=6.0, misses=3)
        log.log_event("alert", metric="misses", state="beyond", mean=3.0, limit=0.0, side="above")
    assert [text for _, text in from_log(path)["alerts"]] == ["ALERT: misses above threshold: 3.0 against 0.0"]
    assert from_log(path, {"quality/chest/ecg": 0.5})["missed"] == 3  # not scored yet


def test_an_alert_in_a_log_counts(tmp_path):
    path = tmp_path / "run.jsonl"
    with EventLog(path) as log:
        for state in ("beyond", "back"):
            log.log_event("alert", metric="latency_ms", state=state, mean=120.0, limit=100.0, side="above")
    report = from_log(path)
    assert report["status"] == "alert"
    assert [text for _, text in report["alerts"]] == ["ALERT: latency_ms above threshold: 120.0 against 100.0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--above", "latency_ms"], "--above: expected METRIC=NUMBER, found 'latency_ms'"),
        (["--above", "latency_ms=fast"], "--above: expected METRIC=NUMBER"),
        (["--above", "=3"], "--above: expected METRIC=NUMBER"),
        (["--above", "latency_ms=nan"], "--above: expected METRIC=NUMBER"),
        (["--watch", "0"], "--watch: expected seconds above 0, found 0"),
        (["--timeout", "-1"], "--timeout: expected seconds above 0, found -1"),
    ],
)
def test_wrong_options_are_explained(tmp_path, capsys, options, message):
    assert main(["health", str(tmp_path / "run.jsonl"), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_server_takes_no_threshold_from_here(capsys):
    assert main(["health", "http://127.0.0.1:1", "--above", "latency_ms=3"]) == 2
    assert "hil serve --alert" in capsys.readouterr().err


def test_watching_asks_again_until_somebody_ends_it(monkeypatch, capsys):
    reports = iter([a_report(100.0), a_report(24.0)])

    def ask(what, limits, timeout_s):
        found = next(reports, None)
        if found is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr("harness.monitor.health_command.health_of", ask)
    assert main(["health", "http://127.0.0.1:1", "--watch", "0.001"]) == 130
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("http://")]
    assert said == ["http://127.0.0.1:1: ok", "http://127.0.0.1:1: alert"]
