"""What must not stand in a log: who a person is, where they live, which device is theirs, and secrets.

A log is copied into tickets and mails long after the run. So by default a value that says who somebody is becomes a
pseudonym such as ``user:1f3a90c27b``: a keyed hash (BLAKE2b), with a key that is drawn for each log and never written.
The same person keeps one pseudonym within a log, and cannot be found across logs or by trying names. Secrets are left
out always. What counts is the key under which a value stands, at any depth; free text is searched for what can be
told by its form: e-mail addresses, hardware and IP addresses, phone numbers, home folders, and ``user_id=...``.
"""

from __future__ import annotations

import re
import secrets
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import pairwise

MODES = ("hash", "drop", "keep")
LEFT_OUT = "<left out>"
SECRET = "secret"  # noqa: S105  the name of a category

WHOLE = {
    "user": "user, login, uid, operator, patient, subject, participant, proband, person, client, customer, member, "
    "employee, physician, doctor, nurse, technician, name, names, initials, mrn",
    "contact": "mail, phone, telephone, mobile, cell, fax, address, street, city, town, zip, twitter",
    "birth": "born, age, age years",
    "place": "location, lat, lon, lng, geo, coordinates",
    "ip": "hostname, host name, remote addr, remote address, client host, client addr, peer",
    "device": "mac, macs, serial, serial no, advertised name, local name",
    "body": "sex, gender, ethnicity, race, religion, height cm, weight kg, bmi",
    SECRET: "token, auth, pin",
}
"""Category -> keys that are personal as they stand: ``name`` is, ``file_name`` is not."""
ANYWHERE = {
    "user": "username, user name, first name, firstname, last name, lastname, full name, fullname, given name, "
    "family name, middle name, maiden name, surname, ssn, passport, insurance",
    "contact": "email, emails, e mail, mail address, phone number, home address, postal address, postcode, zip code",
    "birth": "birth, birthday, birthdate, birthyear, dob",
    "place": "latitude, longitude, gps, geolocation",
    "ip": "ip, ips",
    "device": "serial number, serial numbers, mac address, ble address, bluetooth address, hardware address, bd addr, "
    "bdaddr, bdaddress, imei, imsi, udid, device id, device serial, device uuid",
    "body": "diagnosis, diagnoses, medication, medications, disease",
    SECRET: "password, passwd, passphrase, pwd, secret, secrets, authorization, cookie, cookies, credential, "
    "credentials, api key, apikey, access key, private key, session key, session id, access token, auth token, "
    "refresh token, bearer",
}
"""Category -> words that are personal wherever they stand in a key: ``patient_date_of_birth``."""
_PEOPLE = (
    "user", "patient", "subject", "participant", "proband", "person", "client", "customer", "member", "employee",
    "operator", "physician", "doctor",
)  # fmt: skip
_WHICH = ("id", "ids", "name", "names", "number", "no", "nr", "code", "key", "initials", "uid", "uuid", "label")
"""After a word for a person: ``subject_code``."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def _by_phrase(table: dict[str, str]) -> dict[tuple[str, ...], str]:
    return {tuple(phrase.split()): category for category, text in table.items() for phrase in text.split(", ")}


_WHOLE, _ANYWHERE = _by_phrase(WHOLE), _by_phrase(ANYWHERE)


@lru_cache(maxsize=4096)
def category_of(key: str) -> str:
    """What a value under this key would tell: ``user``, ``contact``, ... or nothing."""
    words = tuple(word.lower() for word in _WORD.findall(key[:200]))
    if words in _WHOLE:
        return _WHOLE[words]
    for length in (1, 2):
        for at in range(len(words) - length + 1):
            found = _ANYWHERE.get(words[at : at + length])
            if found:
                return found
    told = any(person in _PEOPLE and which in _WHICH for person, which in pairwise(words))
    return "user" if told else ""


_SECRETS = re.compile(
    r"(?i)(\b(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key)[\"']?\s*=\s*[\"']?|"
    r"\b(?:password|passwd|pwd|api[_-]?key)[\"']?\s*:\s*[\"']?|"
    r"[\"'](?:token|secret|auth|authorization|cookie|\w*_token)[\"']\s*:\s*[\"']?|"
    r"\bcookie:\s*[^\s=;]+=|\bBearer\s+|\bBasic\s+(?=[\w+/=]{8})|"
    r"(?<=://)[^\s/:@]*:(?=[^\s/@]*@))([^\s\"',;&})@\]]+)"
)
_FORMS = (
    ("contact", re.compile(r"(?<![\w.%+-])[\w.%+-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+")),
    (
        "device",
        re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{2}(?:([:_-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![0-9A-Fa-f])"),
    ),
    ("device", re.compile(r"(?<=Polar )(?:[\w-]+ )?[0-9A-F]{8}\b")),
    (
        "ip",
        re.compile(
            r"(?<![\w.])(?!127\.|0\.0\.0\.0)(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}(?![\w.]\d)"
        ),
    ),
    (
        "ip",
        re.compile(
            r"(?<![\w:])(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|"
            r"[0-9A-Fa-f]{3,4}(?::[0-9A-Fa-f]{1,4}){0,5}::(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,5})?)(?![\w:])"
        ),
    ),
    ("contact", re.compile(r"(?<![\w+])\+\d(?:[ ()/-]{0,2}\d){7,14}(?!\d)")),
)
"""What can be told by its form. Loopback addresses are nobody's."""
_KEYED = (
    ("user", re.compile(
        r"(?i)(\b(?:user|patient|subject|participant|proband|client|operator)[ _-]?(?:id|name|no|number|code)[\"']?"
        r"\s*[=:]\s*[\"']?|\b(?:patient|participant|proband)[\"']?\s*:\s*[\"']?|"
        r"\b(?:user|username|login|patient|subject|participant|proband)[\"']?\s*=\s*[\"']?)"
        r"([^\s\"',;&})\]]+)")),
    ("birth", re.compile(r"(?i)(\b(?:dob|birth\w*|date[ _-]of[ _-]birth)[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&})\]]+)")),
    ("contact", re.compile(r"(?i)(\b(?:phone|mobile|telephone)[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&})\]]+)")),
    ("device", re.compile(r"(?i)(\bserial[ _-]?(?:number|no)[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&})\]]+)")),
    ("user", re.compile(r"((?<![\w.])/home/|(?<![\w.])/Users/|\b[A-Za-z]:\\Users\\)([^/\\\s:'\"]+)")),
)  # fmt: skip
"""What follows a word that says what it is: the word stays."""


_SUSPECT = re.compile(r"(?i)[@:=+]|%40|/home/|/users/|\.\d|polar |bearer\s|basic\s|(?:[_-][0-9a-f]{2}){5}")
"""Whatever the forms above need: text without any of it need not be searched for each."""
_SEPARATORS = str.maketrans("", "", ":-_ ")


class Privacy:
    """``mode``: ``hash`` makes pseudonyms, ``drop`` leaves out, ``keep`` lets everything but secrets through."""

    def __init__(self, mode: str = "hash", key: bytes | None = None) -> None:
        if mode not in MODES:
            raise ValueError(f"personal data: expected {', '.join(MODES)}, found {mode!r}")
        self.mode = mode
        self._key = key if key is not None else secrets.token_bytes(32)

    @property
    def keeps(self) -> bool:
        """Personal data may stand in the log."""
        return self.mode == "keep"

    def category(self, key: str) -> str:
        """What must not be told of a value under this key; nothing where it may stand."""
        found = category_of(key)
        return "" if self.keeps and found != SECRET else found

    def hide(self, category: str, value: object) -> str:
        """What stands in the value's place."""
        if category == SECRET or self.mode == "drop":
            return LEFT_OUT
        text = str(value).strip().lower()
        if category == "device":  # one address, however it is written
            text = text.translate(_SEPARATORS)
        digest = blake2b(text.encode("utf-8", "replace"), key=self._key, digest_size=5)
        return f"{category}:{digest.hexdigest()}"

    def text(self, text: str) -> str:
        """Free text, without what can be told by its form. A bare name in a sentence cannot be."""
        if _SUSPECT.search(text) is None:
            return text
        text = _SECRETS.sub(rf"\1{LEFT_OUT}", text)
        if self.keeps:
            return text
        for category, keyed in _KEYED:
            text = keyed.sub(partial(self._hide_second, category), text)
        for category, form in _FORMS:
            text = form.sub(partial(self._hide_all, category), text)
        return text

    def _hide_second(self, category: str, found: re.Match[str]) -> str:
        return found[1] + self.hide(category, found[2])

    def _hide_all(self, category: str, found: re.Match[str]) -> str:
        return self.hide(category, found[0])
