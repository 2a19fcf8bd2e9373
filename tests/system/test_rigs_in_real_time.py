"""Every shipped rig passes in real time too, each sensor over its own link: run by name, it takes half a minute a rig.

python -m pytest -m heavy tests/system/test_rigs_in_real_time.py
"""

import shutil
from pathlib import Path

import pytest

from harness.cli import main

RIGS = sorted((Path(__file__).parents[2] / "rigs").glob("*.rig.yaml"))


@pytest.mark.heavy
@pytest.mark.timeout(240)
@pytest.mark.parametrize("rig", RIGS, ids=lambda path: path.name.removesuffix(".rig.yaml"))
def test_a_shipped_rig_ends_over_its_own_links_as_it_does_in_virtual_time(rig, tmp_path):
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs dbus-daemon: apt-get install dbus")
    real = main(["run", str(rig), "--simulate", "--quiet", "--out", str(tmp_path / "real")])
    virtual = main(["run", str(rig), "--virtual", "--quiet", "--no-recording"])
    assert real == virtual
