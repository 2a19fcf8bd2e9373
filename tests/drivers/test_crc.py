"""Check values: the catalogue of parametrised CRC algorithms (reveng), for the text 123456789."""

import numpy as np

from drivers.crc import crc8_rows, crc16_rows, crc32_rows

NINE = np.frombuffer(b"123456789", dtype=np.uint8)[None, :]


def test_crc8_has_the_catalogues_check_values() -> None:
    assert crc8_rows(NINE, 0x07).tolist() == [0xF4]  # CRC-8/SMBUS
    assert crc8_rows(NINE, 0x9B).tolist() == [0xEA]  # CRC-8/LTE


def test_crc16_and_crc32_have_the_catalogues_check_values() -> None:
    assert crc16_rows(NINE).tolist() == [0x29B1]  # CRC-16/IBM-3740, called CCITT-FALSE
    assert crc32_rows(NINE).tolist() == [0xCBF43926]  # CRC-32/ISO-HDLC


def test_every_row_has_a_sum_of_its_own() -> None:
    rows = np.concatenate([NINE, NINE[:, ::-1], NINE])
    for sums in (crc8_rows(rows, 0x07), crc16_rows(rows), crc32_rows(rows)):
        assert sums[0] == sums[2] != sums[1]
        assert sums.shape == (3,)
