"""A recording of a CMS50E in the V7 protocol: 102 real-time packets and the beginning of another.

Source: titinho11/CMS50E-raw-ppg-data (commit 30693d7), file ``data``, 922 bytes: a resting person at 60 beats a
minute. SHA-256 7db022f56800234e8f1bf213a88d8145016f945226b0d8e59469a9993b7473cb.
"""

from __future__ import annotations

CAPTURE = bytes.fromhex(
    "01e0849392bce3ffff01e0849392bce3ffff01e0849292bce3ffff01e0849292bce3ffff01e0849292bce3ffff01e0849192bce3ffff"
    "01e0849192bce3ffff01e0849092bce3ffff01e0849092bce3ffff01e0849092bce3ffff01e0848f91bce3ffff01e0848e91bce3ffff"
    "01e0848e91bce3ffff01e0848d91bce3ffff01e0848d91bce3ffff01e0848c91bce3ffff01e0848b91bce3ffff01e0848b91bce3ffff"
    "01e0848b91bce3ffff01e0848b91bce3ffff01e0848a91bce3ffff01e0848a91bce3ffff01e0848991bce3ffff01e0848991bce3ffff"
    "01e0848891bce3ffff01e0848891bce3ffff01e0848c91bce3ffff01e0849392bce3ffff01e0849d93bce3ffff01e084a895bce3ffff"
    "01e084be97bce3ffff01e084c698bce3ffff01e084c899bce3ffff01e084c798bce3ffff01e0c4c498bce3ffff01e0c4c098bce3ffff"
    "01e084bc97bce3ffff01e084b897bce3ffff01e084b596bce3ffff01e084b196bce3ffff01e084ae95bce3ffff01e084ac95bce3ffff"
    "01e084ab95bce3ffff01e084aa95bce3ffff01e084aa95bce3ffff01e084aa95bce3ffff01e084aa95bce3ffff01e084aa95bce3ffff"
    "01e084a995bce3ffff01e084a895bce3ffff01e084a694bce3ffff01e084a394bce3ffff01e084a094bce3ffff01e0849e93bce3ffff"
    "01e0849b93bce3ffff01e0849993bce3ffff01e0849893bce3ffff01e0849792bce3ffff01e0849692bce3ffff01e0849692bce3ffff"
    "01e0849592bce3ffff01e0849592bce3ffff01e0849592bce3ffff01e0849592bce3ffff01e0849592bce3ffff01e0849592bce3ffff"
    "01e0849592bce3ffff01e0849492bce3ffff01e0849392bce3ffff01e0849292bce3ffff01e0849192bce3ffff01e0848f91bce3ffff"
    "01e0848d91bce3ffff01e0848c91bce3ffff01e0848b91bce3ffff01e0848a91bce3ffff01e0848a91bce3ffff01e0848a91bce3ffff"
    "01e0848991bce3ffff01e0848991bce3ffff01e0848991bce3ffff01e0848991bce3ffff01e0848891bce3ffff01e0848891bce3ffff"
    "01e0848991bce3ffff01e0848b91bce3ffff01e0849292bce3ffff01e0849c93bce3ffff01e084a895bce3ffff01e084c098bce3ffff"
    "01e084c999bce3ffff01e084cd99bce3ffff01e084cc99bce3ffff01e084ca99bce3ffff01e0c4c698bce3ffff01e0c4c198bce3ffff"
    "01e084bd97bce3ffff01e084b997bce3ffff01e084b596bce3ffff01e084b196bce3ffff01e084af95bce3ffff01e084ad95bce3ffff"
    "01e084ac"
)

CAPTURED_PLETH = tuple(float(value & 0x7F) for value in CAPTURE[3::9][:102])
"""No packet of it has the top bit of this byte set among those in its second byte, 0xE0 or 0xC0 with bit 7 off."""
