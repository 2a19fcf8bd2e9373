"""SLIP against the vectors of PyPI's sliplib and against that package itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import slip

ESCAPES = st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD]), min_size=1, max_size=80).map(bytes)
VECTORS = [
    ("C0", "DBDC"),
    ("DB", "DBDD"),
    ("C0DB", "DBDCDBDD"),
    ("DBDC", "DBDDDC"),
    ("DBDDC0", "DBDDDDDBDC"),
    ("01C002DB03", "01DBDC02DBDD03"),
]


@pytest.mark.parametrize(("packet", "sent"), VECTORS)
def test_the_published_vectors_hold_both_ways(packet: str, sent: str) -> None:
    assert slip.encode(bytes.fromhex(packet)).hex() == sent.lower()
    assert slip.decode(bytes.fromhex(sent)).hex() == packet.lower()


@pytest.mark.parametrize("damaged", ["DB", "DB00", "DBDBDC", "01C002", "DBDDDB"])
def test_what_is_no_slip_is_refused(damaged: str) -> None:
    with pytest.raises(ValueError, match="byte"):
        slip.decode(bytes.fromhex(damaged))


@settings(max_examples=100, deadline=None)
@given(packet=st.binary(min_size=1, max_size=80) | ESCAPES)
def test_the_package_sliplib_encodes_and_decodes_alike(packet: bytes) -> None:
    package = pytest.importorskip("sliplib", reason="needs the package sliplib: pip install sliplib")
    sent = slip.encode(packet)
    assert package.encode(packet) == sent
    assert slip.decode(sent) == packet
    assert package.decode(sent) == packet
    assert len(sent) <= slip.longest(len(packet))
