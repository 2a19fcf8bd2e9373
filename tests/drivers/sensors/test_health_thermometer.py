import math

import numpy as np
import pytest

from drivers.codec import Block
from drivers.errors import AttError, SettingError
from drivers.exchange import Exchange
from drivers.sensors import health_thermometer
from drivers.sensors.health_thermometer import INTERMEDIATE, INTERVAL, MEASUREMENT, TYPE, Settings
from drivers.types import Batch, Malformed, Notice, Samples


class Cable:
    description, clock = "a test connection", None

    def __init__(self, device, interval=None) -> None:
        self.device, self.interval, self.written, self.subscribed = device, interval, [], []

    def read(self, channel: str):
        return self.interval if channel == INTERVAL and self.interval is not None else self.device.read(channel)

    def write(self, data: bytes, channel: str = "") -> None:
        self.written.append((data, channel))
        self.device.receive(data, channel)

    def subscribe(self, channel: str) -> None:
        self.subscribed.append(channel)
        self.device.subscribe(channel)


def feed(text: str, channel: str = MEASUREMENT, host=None):
    host = host or health_thermometer.host(Settings())
    return host.feed(Batch.single(bytes.fromhex(text), 0, channel))


def told(events) -> dict:
    return {e.name: e.value for e in events if isinstance(e, Notice)}


def celsius(events) -> float:
    return next(e for e in events if isinstance(e, Samples)).values[0, 0]


def value(degrees: float, device_ns: int = 0, **settings) -> tuple[str, str]:
    one = np.zeros(1, dtype=np.int64)
    block = Block(one, one, one + device_ns, np.array([[degrees]]))
    (batch,) = health_thermometer.device(Settings(**settings)).encode({"temperature": block})
    return batch.data.hex(" "), batch.channel


def test_a_value_is_encoded_as_polar_s_test_has_it() -> None:
    assert value(27.2, place="") == ("00 a0 0a 00 fe", MEASUREMENT)
    assert value(27.21, place="", intermediate=True) == ("00 a1 0a 00 fe", INTERMEDIATE)


def test_date_and_place_come_behind_the_value() -> None:
    """A day and an hour after 2000-01-01T00:00:00; type 2 is the body."""
    assert value(36.6, 90_000 * 10**9, dated=True)[0] == "06 4c 0e 00 fe d0 07 01 02 01 00 00 02"


def test_fahrenheit_is_converted_both_ways() -> None:
    assert value(37.0, fahrenheit=True, place="")[0] == "01 84 26 00 fe", "98.60 F"
    assert celsius(feed("01 84260 0FE".replace(" ", ""))) == pytest.approx(37.0)


def test_freezing_and_below() -> None:
    assert celsius(feed("01 20 00 00 00".replace(" ", ""))) == 0.0
    assert celsius(feed("00 0C FE FF FE".replace(" ", ""))) == pytest.approx(-5.0)


@pytest.mark.parametrize(("special", "name"), [("FFFF7F00", "NaN"), ("00008000", "NRes"), ("FEFF7F00", "+INFINITY")])
def test_what_is_no_number_is_nan_and_told(special: str, name: str) -> None:
    events = feed("00" + special)
    assert math.isnan(celsius(events))
    assert told(events) == {"no_value": name}


@pytest.mark.parametrize(
    "text", ["", "00", "00A00A00", "00A00A00FE00", "02A00A00FE", "04A00A00FE", "02A00A00FEE7070D170A2D1E"]
)
def test_a_value_that_does_not_fit_its_flags_is_malformed(text: str) -> None:
    assert [type(e) for e in feed(text)] == [Malformed]


def test_the_place_is_read_or_comes_with_the_value() -> None:
    made = Settings(place="ear")
    host, cable = health_thermometer.host(made), Cable(health_thermometer.device(made))
    assert Exchange(host.start(), cable, 0).done
    assert told(feed("00A00A00FE", host=host))["place"] == "ear"
    assert told(feed("04A00A00FE09", host=host)) == {"place": "tympanum"}
    assert told(feed("04A00A00FE2A", host=host)) == {"place": "type 42"}


@pytest.mark.parametrize(("intermediate", "channel"), [(False, MEASUREMENT), (True, INTERMEDIATE)])
def test_final_or_intermediate_values_are_chosen_by_the_settings(intermediate: bool, channel: str) -> None:
    made = Settings(intermediate=intermediate)
    cable = Cable(health_thermometer.device(made))
    assert Exchange(health_thermometer.host(made).start(), cable, 0).done
    assert cable.subscribed[-1] == channel
    assert cable.device.streaming
    assert cable.written == [], "the interval is the one that is wanted"


def test_another_interval_is_set_before_anything_is_asked_for() -> None:
    cable = Cable(health_thermometer.device(Settings(interval_s=60)), interval=b"\x01\x00")
    Exchange(health_thermometer.host(Settings(interval_s=60)).start(), cable, 0)
    assert cable.written == [(b"\x3c\x00", INTERVAL)]


def test_an_interval_that_the_thermometer_does_not_have_is_refused_with_the_profile_s_error() -> None:
    device = health_thermometer.device(Settings())
    for data, code in ((b"\x02\x00", 0x80), (b"\x01", 0x0D)):
        with pytest.raises(AttError) as refused:
            device.receive(data, INTERVAL)
        assert refused.value.code == code
    with pytest.raises(AttError):
        device.receive(b"\x01\x00", MEASUREMENT)
    with pytest.raises(AttError):
        device.subscribe(TYPE)


@pytest.mark.parametrize("bad", [{"interval_s": 0}, {"interval_s": 65536}, {"place": "elbow"}, {"battery_percent": -1}])
def test_settings_without_meaning_are_refused_for_a_thermometer(bad: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**bad)
