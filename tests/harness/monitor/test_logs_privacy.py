"""Personal data: injected in every way that is likely, and found nowhere in the file."""

import json
import logging
from dataclasses import dataclass

import numpy as np
import pytest

from harness.monitor.log_privacy import ANYWHERE, WHOLE, Privacy, category_of
from harness.monitor.logs import EventLog, StructuredLogger

ECG = [round(0.1 * k + 0.0071, 4) for k in range(500)]


@dataclass
class Patient:
    patient_id: str
    first_name: str
    heart_beats: int


class Account:
    def __init__(self):
        self.user = "annaliese"

    def __repr__(self):
        return f"Account({self.user})"


SECRETS = {
    "u-4711": {"user_id": "u-4711"},
    "471200471200": {"userId": 471200471200},
    "Annaliese": {"name": "Annaliese Musterfrau"},
    "Musterfrau": {"patientName": "Annaliese Musterfrau"},
    "proband-07": {"subject": "proband-07"},
    "proband-08": {"participant_code": "proband-08"},
    "anna@example.org": {"email": "anna@example.org"},
    "555-0123": {"phone": "555-0123"},
    "Rosenweg": {"patient": {"home_address": {"lines": ["Rosenweg 7", "Gießen"]}}},
    "Gießen": {"patient": {"home_address": {"lines": ["Rosenweg 7", "Gießen"]}}},
    "1985-02-03": {"date_of_birth": "1985-02-03"},
    "198.51.100.7": {"ip": "198.51.100.7"},
    "198.51.100.8": {"remote_addr": ["198.51.100.8", 443]},
    "A0:9E:1A:00:00:01": {"mac": "A0:9E:1A:00:00:01"},
    "8C4CAD2D": {"serial_number": "8C4CAD2D"},
    "50.5812345678": {"latitude": 50.5812345678},
    "hunter2": {"login": {"password": "hunter2"}},
    "sk-12345": {"headers": {"Authorization": "Bearer sk-12345"}},
    "P-17": {"rows": [{"who": {"x": 1}}, {"patient": "P-17"}]},
    "bob@example.org": {"sent": "mail to bob@example.org failed"},
    "A0:9E:1A:00:00:02": {"why": "no answer from A0:9E:1A:00:00:02"},
    "A0_9E_1A_00_00_03": {"path": "/org/bluez/hci0/dev_A0_9E_1A_00_00_03"},
    "a0-9e-1a-00-00-04": {"why": "a0-9e-1a-00-00-04 is gone"},
    "9C5DBE3E": {"why": "found Polar H10 9C5DBE3E"},
    "198.51.100.9": {"why": "refused by 198.51.100.9:8000"},
    "2001:db8:85a3": {"why": "refused by 2001:db8:85a3:0:0:8a2e:370:7334"},
    "2001:db8::": {"why": "refused by [2001:db8::8a2e:7335]:80"},
    "151 2345": {"why": "call +49 151 2345678"},
    "annamaria": {"file": "/home/annamaria/runs/x"},
    "u-4713": {"why": "no session for user_id=u-4713"},
    "u-4714": {"why": '{"patient_id": "u-4714"}'},
    "hunter3": {"url": "http://admin:hunter3@127.0.0.1/infer"},
    "hunter4": {"why": "password=hunter4&x=1"},
    "tok-99": {"why": "Authorization: Bearer tok-99"},
    "tok-98": {"why": '{"token": "tok-98"}'},
    "tok-97": {"why": "{'refresh_token': 'tok-97'}"},
    "sess-96": {"why": "Cookie: session=sess-96; theme=dark"},
    "heidi%40example.org": {"url": "http://127.0.0.1/?to=heidi%40example.org"},
    "Proband-19": {"why": "patient: Proband-19 is gone"},
    "carol@example.org": {"counts": {"carol@example.org": 3}},
    "p-18": {"who": Patient("p-18", "Dora", 3)},
    "Dora": {"who": Patient("p-18", "Dora", 3)},
    "annaliese": {"account": Account()},
    "dave@example.org": {"error": ValueError("no such person: dave@example.org")},
    "33.3071": {"window": ECG},
    "33.4071": {"window": np.array(ECG)},
    "33.5071": {"window": {"ecg": [[ECG, ECG], [ECG, ECG]]}},
    "33.6071": {"rows": np.array(ECG).reshape(-1, 2).tolist()},
    "33.7071": {"values": tuple(ECG)},
    "0102030405060708090a0b0c0d0e0f1011": {"wire": bytes(range(1, 40))},
    "erin@example.org": {"to": b"erin@example.org, of the clinic"},
}
"""What must not be found -> an event's data that holds it."""


def written(tmp_path, personal):
    path = tmp_path / "run.jsonl"
    with EventLog(path, personal=personal, level="debug") as log:
        for data in SECRETS.values():
            log.put("user_interaction", data)
        try:
            raise ValueError("no account for frank@example.org")
        except ValueError:
            logging.getLogger("library").exception("refused %s", "198.51.100.10", extra={"user_id": "u-4715"})
        logging.getLogger("library").info({"email": "grace@example.org"})
    return path.read_text("utf-8")


MORE = {"frank@example.org", "198.51.100.10", "u-4715", "grace@example.org"}


@pytest.mark.parametrize("personal", ["hash", "drop"])
def test_injected_personal_data_is_nowhere_in_the_file(tmp_path, personal):
    text = written(tmp_path, personal)
    found = [secret for secret in {*SECRETS, *MORE} if secret.lower() in text.lower()]
    found += [secret for secret in {*SECRETS, *MORE} if json.dumps(secret)[1:-1].lower() in text.lower()]
    assert found == []


def test_the_search_would_have_found_them(tmp_path):
    text = written(tmp_path, "keep").lower()
    secrets = {"hunter2", "sk-12345", "hunter3", "hunter4", "tok-99", "tok-98", "tok-97", "sess-96"}  # left out always
    objects = {"annaliese"}  # whose repr() is nobody's business
    raw = {"erin@example.org"}  # in hexadecimal
    for secret in {*SECRETS, *MORE} - secrets - objects - raw:
        assert secret.lower() in text or json.dumps(secret)[1:-1].lower() in text, secret
    assert not any(secret in text for secret in secrets)
    assert b"erin@example.org".hex() in text


def test_what_a_run_needs_is_kept(tmp_path):
    data = {
        "role": "chest", "sensor": "openbci-cyton", "stream": "chest/ecg", "rig": "demo", "file_name": "demo.rig.yaml",
        "model_version": "1.0", "latency_ms": 45.2, "quality_score": 0.95, "flags": ["hum"], "n": 13, "check": "age",
        "endpoint": "http://127.0.0.1:8000/infer", "port": "/dev/ttyUSB0", "metric_name": "latency_ms", "seed": 7,
        "age_ms": 12.5, "version": "1.2.3", "time": "12:34:56", "sha": "a09e1a0000010203", "address_bits": 16,
        "text": "12 of 323 windows missed 100 ms; stamps 08:09:10 to 11:12:13, 3.5.1", "shape": [1, 2, 250],
        "p50_ms": [1.0, 2.5], "key": "weights", "session": "s1", "process": 77, "events": [{"at_s": 1.5}],
    }  # fmt: skip
    with EventLog(tmp_path / "run.jsonl") as log:
        log.put("x", data)
    assert json.loads((tmp_path / "run.jsonl").read_text().splitlines()[-1])["data"] == data


@pytest.mark.parametrize(
    ("key", "category"),
    [
        ("user_id", "user"), ("userId", "user"), ("USER-ID", "user"), ("patient name", "user"), ("subject_no", "user"),
        ("name", "user"), ("Name", "user"), ("e_mail", "contact"), ("eMail", "contact"), ("customer_email", "contact"),
        ("patient_date_of_birth", "birth"), ("clientIp", "ip"), ("client_ip_address", "ip"), ("bleAddress", "device"),
        ("hr_device_serial", "device"), ("apiKey", "secret"), ("X-Auth-Token", "secret"), ("gpsPosition", "place"),
        ("file_name", ""), ("sensor_name", ""), ("ecg", ""), ("", ""), ("address_bits", ""), ("subjective", ""),
        ("username_hint", "user"), ("nameless", ""), ("age_ms", ""), ("age", "birth"),
    ],
)  # fmt: skip
def test_keys_are_known_by_their_words_however_they_are_spelled(key, category):
    assert category_of(key) == category


def test_every_documented_key_means_its_category():
    for table in (WHOLE, ANYWHERE):
        for category, text in table.items():
            assert all(category_of(phrase.replace(" ", "_")) == category for phrase in text.split(", "))


def test_one_person_has_one_pseudonym_in_a_log_and_another_in_the_next(tmp_path):
    told = []
    for number in range(2):
        path = tmp_path / f"{number}.jsonl"
        with EventLog(path) as log:
            log.log_event("x", user_id="user123")
            log.log_event("x", user_id=" USER123 ")
            log.log_event("x", user_id="user124")
            StructuredLogger("hil", personal=log.privacy, console=False, level=None).log_event("x", user_id="user123")
        lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        told.append([line["data"]["user_id"] for line in lines])
    (first, same, other, beside), (again, *_) = told
    assert first == same == beside and first.startswith("user:")
    assert len({first, other, again}) == 3


def test_a_hardware_address_has_one_pseudonym_however_it_is_written():
    privacy = Privacy()
    forms = ["A0:9E:1A:00:00:01", "a0-9e-1a-00-00-01", "A0_9E_1A_00_00_01"]
    assert len({privacy.text(form) for form in forms} | {privacy.hide("device", forms[0])}) == 1


def test_an_unknown_mode_says_which_there_are():
    with pytest.raises(ValueError, match="personal data: expected hash, drop, keep, found 'some'"):
        Privacy("some")


def test_times_and_versions_are_no_addresses():
    text = "12:34:56.789 at 2026-01-01T12:00:00Z, version 0.26.1, ratio 1:2:3, 127.0.0.1:8000, 08:09:10:11"
    assert Privacy().text(text) == text
