import math

import numpy as np
import pytest

from drivers.codec import Block
from drivers.errors import AttError, HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors import pulse_oximeter
from drivers.sensors.pulse_oximeter import CONTINUOUS, FEATURES, SPOT_CHECK, Settings
from drivers.types import Batch, Malformed, Notice, Samples
from simulators.build import simulated

SECOND = 1_000_000_000


class Cable:
    description, clock = "a test connection", None

    def __init__(self, device, features=None) -> None:
        self.device, self.features, self.subscribed = device, features, []

    def read(self, channel: str):
        return self.features if channel == FEATURES and self.features is not None else self.device.read(channel)

    def subscribe(self, channel: str) -> None:
        self.subscribed.append(channel)
        self.device.subscribe(channel)


def feed(text: str, channel: str = CONTINUOUS, at_ns: int = 0, host=None, **settings):
    host = host or pulse_oximeter.host(Settings(**settings))
    return host.feed(Batch.single(bytes.fromhex(text), at_ns, channel))


def told(events) -> dict:
    return {e.name: e.value for e in events if isinstance(e, Notice)}


def result(percent: float, bpm: float, **settings) -> str:
    one = np.zeros(1, dtype=np.int64)
    device = pulse_oximeter.device(Settings(**settings))
    width = len(device.streams[0].channels)
    blocks = {
        "spo2": Block(one, one, one, np.full((1, width), percent)),
        "pulse_rate": Block(one, one, one, np.full((1, width), bpm)),
    }
    (batch,) = device.encode(blocks)
    return batch.data.hex(" ")


def test_a_plain_result_is_encoded_as_wireshark_reads_it() -> None:
    assert result(97, 72) == "00 61 00 48 00"


def test_no_measurement_is_encoded_as_no_number() -> None:
    assert result(math.nan, math.nan) == "00 ff 07 ff 07"


def test_every_field_has_its_place() -> None:
    """Flags 0x1F; status: ongoing; amplitude 5.0 % as 50 x 10^-1."""
    assert result(97, 72, averages=["normal", "fast", "slow"], status=True) == (
        "1f 61 00 48 00 61 00 48 00 61 00 48 00 20 00 00 00 00 32 f0"
    )


def test_a_spot_check_is_dated_by_a_clock_that_was_never_set() -> None:
    assert result(97, 72, mode="spot-check") == "11 61 00 48 00 d0 07 01 01 00 00 00"


def test_averages_that_a_result_lacks_are_no_number() -> None:
    events = feed("01 6100 4800 6200 4900", averages=["slow", "fast", "normal"])
    spo2, rate = (e.values.tolist() for e in events if isinstance(e, Samples))
    np.testing.assert_equal(spo2, [[math.nan, 98, 97]])
    np.testing.assert_equal(rate, [[math.nan, 73, 72]])


@pytest.mark.parametrize(
    ("special", "name"),
    [("FF07", "NaN"), ("0008", "NRes"), ("FE07", "+INFINITY"), ("0208", "-INFINITY"), ("0108", "reserved")],
)
def test_whatever_is_no_number_is_nan_and_its_kind_is_told_once(special: str, name: str) -> None:
    host = pulse_oximeter.host(Settings())
    events = feed(f"00 {special} 4800", host=host)
    assert told(events) == {"no_value": name}
    assert math.isnan(next(e for e in events if isinstance(e, Samples)).values[0, 0])
    assert told(feed(f"00 {special} 4800", host=host)) == {}
    assert told(feed("00 6100 4800", host=host)) == {"no_value": ""}


def test_troubles_of_the_sensor_are_told_by_name_when_they_change() -> None:
    host = pulse_oximeter.host(Settings())
    assert told(feed("0C 6100 4800 2000 000000", host=host)) == {"status_flags": "ongoing"}
    events = feed("0C 6100 4800 2040 300800", host=host)
    assert told(events) == {
        "status_flags": "ongoing, questionable", "sensor_flags": "poor signal, low perfusion, sensor unconnected",
    }  # fmt: skip
    assert told(feed("0C 6100 4800 2040 000000", host=host)) == {"sensor_flags": ""}


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("", CONTINUOUS), ("00 6100 48", CONTINUOUS), ("00 6100 4800 00", CONTINUOUS), ("01 6100 4800", CONTINUOUS),
        ("10 6100 4800", CONTINUOUS), ("01 6100 4800 E707", SPOT_CHECK), ("01 6100 4800 E7070D170A2D1E", SPOT_CHECK),
        ("01 6100 4800 E7070B17182D1E", SPOT_CHECK),
    ],
)  # fmt: skip
def test_a_result_that_does_not_fit_its_flags_is_malformed(text: str, channel: str) -> None:
    assert [type(e) for e in feed(text, channel)] == [Malformed]


def test_a_date_without_a_year_is_unknown() -> None:
    assert told(feed("01 6100 4800 00000B170A2D1E", SPOT_CHECK, mode="spot-check"))["taken_at"] == "unknown"


@pytest.mark.parametrize(("mode", "channel"), [("continuous", CONTINUOUS), ("spot-check", SPOT_CHECK)])
def test_the_mode_chooses_the_characteristic(mode: str, channel: str) -> None:
    made = Settings(mode=mode)
    cable = Cable(pulse_oximeter.device(made))
    assert Exchange(pulse_oximeter.host(made).start(), cable, 0).done
    assert cable.subscribed[-1] == channel
    assert cable.device.streaming


def test_features_are_complete_with_the_fields_that_their_bits_announce() -> None:
    """Wireshark calls two bytes malformed where they announce supported status fields."""
    plain, full = (pulse_oximeter.device(Settings(status=s)).read(FEATURES) for s in (False, True))
    assert (len(plain), len(full)) == (2, 2 + 2 + 3)
    assert full[0] & 0b11 == 0b11


@pytest.mark.parametrize(("features", "what"), [(b"", "another device"), (bytes(2), "fast averaging")])
def test_an_oximeter_that_cannot_is_a_handshake_error(features: bytes, what: str) -> None:
    made = Settings(averages=["normal", "fast"])
    with pytest.raises(HandshakeError, match=what):
        Exchange(pulse_oximeter.host(made).start(), Cable(pulse_oximeter.device(made), features), 0)


def test_writes_and_wrong_subscriptions_are_refused() -> None:
    device = pulse_oximeter.device(Settings())
    with pytest.raises(AttError):
        device.receive(b"\x01", CONTINUOUS)
    with pytest.raises(AttError):
        device.subscribe(FEATURES)
    device.subscribe(SPOT_CHECK)
    assert not device.streaming


def test_the_simulated_saturation_is_the_subject_s() -> None:
    driver = simulated("pulse-oximeter", seed=3, status=True)
    with driver:
        events = list(driver.events(driver.clock.now_ns() + 20 * SECOND))
    percent = np.concatenate([e.values[:, 0] for e in events if isinstance(e, Samples) and e.stream == "spo2"])
    assert len(percent) >= 19
    assert set(percent) <= {96.0, 97.0, 98.0, 99.0}, "a healthy person, in whole percent"
    assert told(events)["pulse_amplitude_percent"] == 5.0


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": "both"}, {"averages": []}, {"averages": ["normal", "normal"]}, {"averages": ["median"]},
        {"mode": "spot-check", "averages": ["fast"]}, {"interval_s": 0.0}, {"battery_percent": 101},
    ],
)  # fmt: skip
def test_settings_without_meaning_are_refused_for_an_oximeter(bad: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**bad)
