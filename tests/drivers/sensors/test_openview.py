import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.sensors.openview import GOLDEN, Host, Settings
from drivers.types import Batch, Malformed, Samples

PACKET = GOLDEN[0].data


def values(events: list, stream: str) -> list:
    return [v for e in events if isinstance(e, Samples) and e.stream == stream for v in e.values[:, 0].tolist()]


def test_the_ecg_is_in_microvolts_at_the_electrodes() -> None:
    """ADS1292R data sheet: full scale is VREF / gain, 2.42 V / 12 = 201.67 mV, in 2^23 - 1 steps of which 8 bits go."""
    data = PACKET[:5] + (32767).to_bytes(2, "little", signed=True) + PACKET[7:]
    ecg = values(Host(Settings()).feed(Batch.single(data, 0)), "ecg")
    assert ecg[0] == pytest.approx(201_667, rel=1e-4)
    halved = values(Host(Settings(ecg_gain=6)).feed(Batch.single(data, 0)), "ecg")
    assert halved[0] == pytest.approx(2 * ecg[0])


def test_text_between_packets_is_malformed_and_costs_no_packet() -> None:
    events = Host(Settings()).feed(Batch.single(PACKET + b"Initiliziation is done\r\n" + PACKET * 2, 0))
    assert len(values(events, "ecg")) == 3
    assert [e.excerpt for e in events if isinstance(e, Malformed)] == [b"Initiliziation is done\r\n"]


def test_text_inside_a_packet_costs_that_packet() -> None:
    events = Host(Settings()).feed(Batch.single(PACKET[:8] + b"oops" + PACKET[8:] + PACKET, 0))
    assert len(values(events, "ecg")) == 1
    assert sum(e.size for e in events if isinstance(e, Malformed)) == len(PACKET) + 4


def test_a_heart_rate_that_is_not_known_yet_is_nan() -> None:
    data = PACKET[:9] + b"\x00\x00" + PACKET[11:]
    assert np.isnan(values(Host(Settings()).feed(Batch.single(data, 0)), "heart_rate")).all()


@pytest.mark.parametrize("wrong", [{"ecg_gain": 5}, {"respiration_per_min": -1}, {"baud": 0}])
def test_a_setting_without_meaning_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**wrong)
