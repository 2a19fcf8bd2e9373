"""Health: what the report says, when it alerts, and that nothing grows without bound."""

import json
import math
import random
import threading
import tracemalloc

import numpy as np
import pytest

from drivers.clock import VirtualClock
from harness.monitor.health import MOST_ALERTS, MOST_METRICS, OTHER_METRICS, HealthMonitor

S = 1_000_000_000


class PlainMonitor:
    """The same contract without bounds, written down as plainly as it can be: every value of the last hour in a list,
    the report and the thresholds over the last ten, an alert at each check that finds the mean above its limit."""

    def __init__(self):
        self.rows, self.alerts = {}, []

    def record(self, name, value, at):
        kept = [row for row in self.rows.get(name, []) if row[0] > at - 3600]
        self.rows[name] = [*(row for row in kept), (at, value)]

    def check(self, limits):
        for name, limit in limits.items():
            last = [value for _, value in self.rows.get(name, [])][-10:]
            if last and sum(last) / len(last) > limit:
                self.alerts.append(f"ALERT: {name} above threshold: {sum(last) / len(last):.2f} > {limit}")

    def metrics(self):
        report = {}
        for name, rows in self.rows.items():
            last = [value for _, value in rows][-10:]
            report[name] = {
                "current": last[-1], "average": sum(last) / len(last), "min": min(last), "max": max(last),
            }  # fmt: skip
        return report


@pytest.mark.parametrize("seed", range(5))
def test_reports_and_alerts_equal_those_of_a_plain_implementation(seed):
    draw = random.Random(seed)
    plain, clock = PlainMonitor(), VirtualClock()
    ours = HealthMonitor(clock, every_check=True)
    at = 0.0
    for _ in range(600):
        at += draw.choice([0.01, 0.5, 1.0, 30.0, 900.0, 4000.0])
        name, value = draw.choice("abc"), draw.gauss(50.0, 30.0)
        plain.record(name, value, at)
        ours.record_metric(name, value, at)
        if draw.random() < 0.2:
            limits = {"a": 50.0, "b": draw.choice([40.0, 60.0]), "never": 0.0}
            plain.check(limits)
            ours.check_thresholds(limits)
    assert ours.get_health_report()["metrics"] == plain.metrics()
    assert [text for _, text in ours.alerts] == plain.alerts
    assert len(plain.alerts) > 10
    assert [alert[1] for alert in ours.get_health_report()["alerts"]] == plain.alerts[-10:]


def test_the_report_looks_at_the_last_ten_values_only():
    monitor = HealthMonitor(VirtualClock())
    for value in [1000.0, *range(1, 11)]:
        monitor.record_metric("latency_ms", value)
    assert monitor.get_health_report()["metrics"] == {
        "latency_ms": {"current": 10.0, "average": 5.5, "min": 1.0, "max": 10.0}
    }


def test_the_report_is_plain_json_and_dated_in_utc():
    monitor = HealthMonitor(VirtualClock())
    monitor.record_metric("load", np.float32(0.5))
    monitor.check_thresholds({"load": 0.1})
    report = json.loads(json.dumps(monitor.get_health_report(), allow_nan=False))
    assert report["timestamp"] == "2000-01-01T00:00:00.000000Z"
    assert set(report) == {"timestamp", "metrics", "alerts"}
    assert report["alerts"] == [[946684800.0, "ALERT: load above threshold: 0.50 > 0.1"]]


def test_one_alert_when_a_mean_goes_above_and_one_note_when_it_returns():
    crossings = []
    monitor = HealthMonitor(VirtualClock(), on_crossing=crossings.append)
    new = []
    for value in [10.0] * 10 + [200.0] * 10 + [10.0] * 10 + [200.0] * 10:
        monitor.record_metric("latency_ms", value)
        new.append(monitor.check_thresholds({"latency_ms": 100.0}))
    told = [number for number, alerts in enumerate(new) if alerts]
    # the mean of ten is above 100 once five of them are 200: 5 * 200 + 5 * 10 = 105 * 10
    assert told == [14, 34]
    assert [text for _, text in monitor.alerts] == ["ALERT: latency_ms above threshold: 105.00 > 100.0"] * 2
    assert [text for _, text in monitor.notes] == ["NOTE: latency_ms no longer above threshold: 86.00 <= 100.0"]
    assert [crossing.beyond for crossing in crossings] == [True, False, True]
    assert monitor.status == "alert"


def test_values_below_a_lower_limit_alert_too():
    monitor = HealthMonitor(VirtualClock())
    monitor.record_metric("quality/chest/ecg", 0.9)
    assert monitor.check_thresholds({}, below={"quality/chest/ecg": 0.5}) == []
    for _ in range(10):
        monitor.record_metric("quality/chest/ecg", 0.1)
    (alert,) = monitor.check_thresholds({}, below={"quality/chest/ecg": 0.5})
    assert alert.text == "ALERT: quality/chest/ecg below threshold: 0.10 < 0.5"


def test_a_healthy_metric_raises_nothing():
    monitor = HealthMonitor(VirtualClock())
    for value in range(1000):
        monitor.record_metric("latency_ms", 20.0 + value % 7)
        assert monitor.check_thresholds({"latency_ms": 100.0}) == []
    assert (monitor.alerts, monitor.notes, monitor.status) == ([], [], "ok")


def test_a_mean_that_equals_its_limit_is_within_it():
    monitor = HealthMonitor(VirtualClock())
    monitor.record_metric("load", 1.0)
    assert monitor.check_thresholds({"load": 1.0}) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, "12", "text", [1], 10**400, np.array([1.0, 2.0])])
def test_what_is_no_finite_number_is_counted_and_not_averaged(bad):
    monitor = HealthMonitor(VirtualClock())
    monitor.record_metric("latency_ms", 5.0)
    monitor.record_metric("latency_ms", bad)
    report = monitor.get_health_report()
    assert report["metrics"]["latency_ms"]["average"] == 5.0
    assert report["refused"] == {"latency_ms": 1} == monitor.refused


def test_a_threshold_that_is_nan_is_an_error():
    with pytest.raises(ValueError, match="latency_ms: expected a number, found NaN"):
        HealthMonitor(VirtualClock()).check_thresholds({"latency_ms": math.nan})


def test_a_metric_that_never_came_is_passed_over():
    assert HealthMonitor(VirtualClock()).check_thresholds({"unheard": 0.0}) == []


def test_what_is_an_hour_old_is_forgotten():
    monitor = HealthMonitor(VirtualClock())
    for at in (0.0, 1.0, 3600.5):
        monitor.record_metric("load", at, timestamp=at)
    assert monitor.metrics["load"] == [(1.0, 1.0), (3600.5, 3600.5)]
    assert monitor.get_health_report()["metrics"]["load"]["min"] == 1.0


def test_values_are_dated_by_the_clock_unless_they_say_when():
    clock = VirtualClock()
    monitor = HealthMonitor(clock)
    clock.sleep_until(90 * S)
    monitor.record_metric("load", 1.0)
    assert monitor.metrics["load"] == [(946684800.0 + 90.0, 1.0)]


def test_a_second_with_many_values_keeps_their_number_least_greatest_and_mean():
    monitor = HealthMonitor(VirtualClock())
    for value in range(1000):
        monitor.record_metric("latency_ms", value, timestamp=7.0 + value / 1000)
    (second,) = monitor.history("latency_ms")
    assert (second.n, second.least, second.greatest) == (1000, 0.0, 999.0)
    assert second.mean == pytest.approx(499.5)


def test_memory_is_bounded_whatever_the_rate_and_the_names():
    monitor = HealthMonitor(VirtualClock(), keep_s=60.0)

    def feed(seconds, rate):
        for number in range(seconds * rate):
            monitor.record_metric("latency_ms", float(number), timestamp=number / rate)

    feed(60, 10)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        feed(60, 300)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 50_000  # thirty times the values, the same sixty seconds
    assert len(monitor.history("latency_ms")) <= 61
    for number in range(2 * MOST_METRICS):
        monitor.record_metric(f"path/{number}", 1.0)
    assert len(monitor.get_health_report()["metrics"]) == MOST_METRICS
    assert monitor.refused == {OTHER_METRICS: MOST_METRICS + 1}


def test_times_that_fall_do_not_make_it_grow():
    monitor = HealthMonitor(VirtualClock(), keep_s=60.0)
    for number in range(5000):
        monitor.record_metric("load", 1.0, timestamp=1e6 - number)
    assert len(monitor.history("load")) <= 62


def test_alerts_are_bounded_and_the_newest_stay():
    clock = VirtualClock()
    monitor = HealthMonitor(clock, every_check=True)
    monitor.record_metric("load", 2.0)
    for number in range(MOST_ALERTS + 50):
        clock.sleep_until(number * S)
        monitor.check_thresholds({"load": 1.0})
    assert len(monitor.alerts) == MOST_ALERTS
    assert monitor.alerts[-1].time_s == 946684800.0 + MOST_ALERTS + 49
    assert len(monitor.get_health_report()["alerts"]) == 10


def test_values_from_many_threads_are_all_counted():
    monitor = HealthMonitor(VirtualClock())

    def feed():
        for _ in range(500):
            monitor.record_metric("load", 1.0, timestamp=5.0)
            monitor.check_thresholds({"load": 0.5})
            monitor.get_health_report()

    threads = [threading.Thread(target=feed) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.history("load")[0].n == 8 * 500
    assert len(monitor.alerts) == 1


def test_whoever_is_told_of_an_alert_may_ask_the_monitor():
    told = []
    monitor = HealthMonitor(VirtualClock(), on_crossing=lambda crossing: told.append(monitor.status))
    monitor.record_metric("load", 2.0)
    monitor.check_thresholds({"load": 1.0})
    assert told == ["alert"]


def test_keeping_for_no_time_is_an_error():
    with pytest.raises(ValueError, match="keep_s: expected seconds, at least 1, found 0"):
        HealthMonitor(keep_s=0)
