import hashlib

import numpy as np
import pytest

from drivers.contec_capture import CAPTURE, CAPTURED_PLETH
from drivers.errors import SettingError
from drivers.sensors.contec_cms50 import Device, Host, Settings
from drivers.types import Batch, Malformed, Notice, Samples
from simulators.build import simulated

PUBLISHED = (
    "19,19,18,18,18,17,17,16,16,16,15,14,14,13,13,12,11,11,11,11,10,10,9,9,8,8,12,19,29,40,62,70,72,71,68,64,60,56,53,"
    "49,46,44,43,42,42,42,42,42,41,40,38,35,32,30,27,25,24,23,22,22"
)


def feed(host: Host, *frames: str, at_ns: int = 0) -> list:
    chunks = [bytes.fromhex(frame) for frame in frames]
    return host.feed(Batch.of(chunks, at_ns + np.arange(len(chunks)) * 16_666_667))


def values(events: list, stream: str) -> list:
    return [v for e in events if isinstance(e, Samples) and e.stream == stream for v in e.values[:, 0].tolist()]


def notices(events: list) -> list[tuple]:
    return [(e.name, e.value) for e in events if isinstance(e, Notice)]


def test_the_recording_is_the_published_one() -> None:
    assert hashlib.sha256(CAPTURE).hexdigest() == "7db022f56800234e8f1bf213a88d8145016f945226b0d8e59469a9993b7473cb"
    assert [int(p) for p in CAPTURED_PLETH[:60]] == [int(p) for p in PUBLISHED.split(",")]


def test_a_rate_and_a_saturation_that_are_not_known_are_nan_and_keep_the_pace() -> None:
    events = feed(Host(Settings()), "01 E0 84 93 92 BC E3 FF FF", "01 E8 94 93 92 FF FF FF FF")
    assert values(events, "heart_rate")[0] == 60.0
    assert np.isnan(values(events, "heart_rate")[1])
    assert np.isnan(values(events, "spo2")[1])
    assert len(values(events, "ppg")) == 2
    assert [n for n in notices(events) if n[0] == "finger"] == [("finger", True), ("finger", False)]


def test_a_finger_that_is_out_is_told_once_in_the_5_byte_protocol_too() -> None:
    host = Host(Settings(protocol="5-byte"))
    events = feed(host, "84 13 02 43 58", "90 00 20 7F 7F", "90 00 20 7F 7F")
    assert [n for n in notices(events) if n[0] == "finger"] == [("finger", True), ("finger", False)]
    assert [n for n in notices(events) if n[0] == "searching"] == [("searching", False), ("searching", True)]
    assert np.isnan(values(events, "spo2")).tolist() == [False, True, True]


def test_a_rate_above_127_uses_the_bit_beside_the_bar() -> None:
    assert values(feed(Host(Settings(protocol="5-byte")), "84 13 42 43 58"), "heart_rate") == [195.0]


def test_a_frame_cut_short_costs_itself_only() -> None:
    frame = "01 E0 84 93 92 BC E3 FF FF"
    events = feed(Host(Settings()), frame, "01 E0 84 93", frame)
    assert len(values(events, "ppg")) == 2
    assert [e.size for e in events if isinstance(e, Malformed)] == [4]


def test_a_disconnect_notice_and_a_refusal_are_told() -> None:
    events = feed(Host(Settings()), "0D 80 82", "0B 81 A3 85")
    assert notices(events) == [("disconnected", 2.0), ("refused", "command A3, reason 05")]


def test_an_unknown_command_is_refused_as_the_document_says() -> None:
    device = Device(Settings())
    replies = device.receive(bytes.fromhex("7D 81 A3 80 80 80 80 80 80"))
    assert [r.data for r in replies] == [bytes.fromhex("0B 81 A3 85")]


def test_start_and_stop_are_the_documents_bytes() -> None:
    device = Device(Settings())
    assert device.receive(bytes.fromhex("7D 81 A1 80 80 80 80 80 80")) == []
    assert device.streaming
    assert [r.data for r in device.receive(bytes.fromhex("7D 81 A2 80 80 80 80 80 80"))] == [bytes.fromhex("0C 80")]
    assert not device.streaming


def test_the_drivers_word_keeps_an_impatient_oximeter_streaming() -> None:
    with simulated("contec-cms50", drop_after_s=7) as driver:
        end_ns = driver.clock.now_ns() + 20_000_000_000
        events = list(driver.events(end_ns))
    assert sum(len(e.index) for e in events if isinstance(e, Samples) and e.stream == "ppg") >= 1190
    assert not [e for e in events if isinstance(e, Notice) and e.name == "disconnected"]


def test_without_a_word_an_impatient_oximeter_says_goodbye_and_stops() -> None:
    driver = simulated("contec-cms50", drop_after_s=7)
    driver._keep_alive = None
    with driver:
        events = list(driver.events(driver.clock.now_ns() + 20_000_000_000))
    assert sum(len(e.index) for e in events if isinstance(e, Samples) and e.stream == "ppg") == 420
    assert [e.value for e in events if isinstance(e, Notice) and e.name == "disconnected"] == [0.0]


@pytest.mark.parametrize(("protocol", "line"), [("v7", (115200, "N")), ("5-byte", (19200, "O"))])
def test_the_line_follows_from_the_protocol_unless_it_is_set(protocol: str, line: tuple) -> None:
    made = Settings(protocol=protocol)
    assert (made.baud, made.parity) == line
    assert Settings(protocol=protocol, baud=4800, parity="E").baud == 4800


@pytest.mark.parametrize(
    "wrong",
    [{"protocol": "v8"}, {"baud": 0}, {"parity": "odd"}, {"perfusion_percent": -1}, {"drop_after_s": -1},
     {"protocol": "5-byte", "drop_after_s": 5}],
)  # fmt: skip
def test_a_setting_without_meaning_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**wrong)
