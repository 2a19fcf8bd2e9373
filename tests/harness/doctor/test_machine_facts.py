"""What the doctor says of made-up machines: a healthy one, and one broken in each way that it knows."""

from dataclasses import replace

import pytest

from harness.doctor import bluetooth, ports, processor
from harness.doctor.machine import Machine, State

MEMINFO = "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nSwapTotal: 4000000 kB\nSwapFree: 4000000 kB\n"
GROUP = "dialout:x:{gid}:{members}\n"
COMMANDS = {
    ("bluetoothctl", "--version"): "bluetoothctl: 5.72",
    ("timedatectl", "show", "-p", "NTPSynchronized", "--value"): "yes",
}
CLOCK = "sys/devices/system/clocksource/clocksource0"


def grow(root, files):
    """Writes files below the root; None makes an empty folder."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


@pytest.fixture
def healthy(tmp_path):
    """A laptop with an FTDI adapter and Bluetooth, on which nothing is wrong."""
    root = tmp_path / "machine"
    gid = tmp_path.stat().st_gid
    grow(
        root,
        {
            "sys/class/tty/ttyUSB0/device": None,
            "sys/class/tty/ttyS0/type": "4",
            "sys/class/tty/ttyS1/type": "0",
            "dev/ttyUSB0": "",
            "dev/ttyS0": "",
            "sys/bus/usb-serial/devices/ttyUSB0/latency_timer": "1\n",
            "etc/group": GROUP.format(gid=gid, members="ada"),
            "proc/1/comm": "systemd\n",
            "proc/1/cgroup": "0::/init.scope\n",
            "proc/700/comm": "bluetoothd\n",
            "proc/700/fd": None,
            "proc/loadavg": "0.31 0.20 0.10 1/500 4242\n",
            "proc/meminfo": MEMINFO,
            "proc/cpuinfo": "flags : fpu sse2\n",
            "sys/class/bluetooth/hci0": None,
            "sys/class/rfkill/rfkill0/type": "bluetooth\n",
            "sys/class/rfkill/rfkill0/soft": "0\n",
            "sys/class/rfkill/rfkill0/hard": "0\n",
            "run/dbus/system_bus_socket": "",
            f"{CLOCK}/current_clocksource": "tsc\n",
            f"{CLOCK}/available_clocksource": "tsc hpet acpi_pm\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "acpi-cpufreq\n",
        },
    )
    commands = dict(COMMANDS)
    return Machine(
        root, run=lambda command: commands.get(tuple(command)), user="ada", gids=frozenset({gid}), pid=4242, cores=8
    )


PROGRAMS = ["bluetoothctl", "cat", "docker", "echo", "hil", "kill", "newgrp", "nproc", "ps", "rfkill", "sudo", "top"]


def everything(machine):
    return [*ports.facts(machine), *bluetooth.facts(machine), *processor.facts(machine)]


def attention(machine):
    return {fact.name: fact for fact in everything(machine) if fact.state is State.ATTENTION}


def only(machine, name):
    """The one fact that needs attention."""
    found = attention(machine)
    assert list(found) == [name]
    fix = found[name].fix
    assert "\n" not in fix
    assert fix.startswith("#") or fix.split()[0] in PROGRAMS, "what is pasted must be a command or a comment"
    return found[name]


def test_nothing_on_a_healthy_machine_needs_attention(healthy):
    assert attention(healthy) == {}
    assert {fact.state for fact in everything(healthy)} == {State.OK}


def test_an_empty_tree_has_nothing_and_raises_nothing(tmp_path):
    facts = everything(Machine(tmp_path / "nothing", cores=8))
    assert {fact.state for fact in facts} <= {State.OK, State.ABSENT}


# --- ports ------------------------------------------------------------------------------------


def test_a_port_of_another_group_is_joined_by_usermod(healthy):
    shut = replace(healthy, access=lambda path: path.name != "ttyUSB0", gids=frozenset(), user="bob")
    fact = only(shut, "port /dev/ttyUSB0")
    assert "group dialout" in fact.found
    assert fact.fix.startswith("sudo usermod -aG dialout bob")


def test_a_member_since_after_the_login_is_told_to_log_in_again(healthy):
    fact = only(replace(healthy, access=lambda path: False, gids=frozenset()), "port /dev/ttyUSB0")
    assert fact.fix.startswith("newgrp dialout")


def test_a_port_of_root_needs_a_udev_rule(healthy):
    gid = healthy.path("dev/ttyUSB0").stat().st_gid
    grow(healthy.root, {"etc/group": f"root:x:{gid}:\n"})
    assert "/etc/udev/rules.d/" in only(replace(healthy, access=lambda path: False), "port /dev/ttyUSB0").fix


def test_a_port_that_its_own_group_may_not_open_needs_a_udev_rule_too(healthy):
    assert 'MODE="0660"' in only(replace(healthy, access=lambda path: False), "port /dev/ttyUSB0").fix


def test_a_port_that_another_program_has_open_names_it(healthy):
    grow(healthy.root, {"proc/812/comm": "minicom\n", "proc/812/fd": None})
    (healthy.root / "proc/812/fd/5").symlink_to("/dev/ttyUSB0")
    fact = only(healthy, "port /dev/ttyUSB0")
    assert "process 812 (minicom)" in fact.found
    assert fact.fix.startswith("kill 812 ")


def test_a_port_that_this_process_has_open_is_free(healthy):
    grow(healthy.root, {"proc/4242/comm": "hil\n", "proc/4242/fd": None})
    (healthy.root / "proc/4242/fd/5").symlink_to("/dev/ttyUSB0")
    assert attention(healthy) == {}


def test_a_port_by_its_lasting_name_is_busy_under_its_short_one(healthy):
    grow(healthy.root, {"dev/serial/by-id": None, "proc/812/comm": "screen\n", "proc/812/fd": None})
    (healthy.root / "dev/serial/by-id/usb-FTDI").symlink_to("../../ttyUSB0")
    (healthy.root / "proc/812/fd/5").symlink_to("/dev/ttyUSB0")
    assert "(screen)" in ports.port_fact(healthy, "/dev/serial/by-id/usb-FTDI").found


def test_a_port_that_the_container_was_not_given_is_told_apart_from_none(healthy):
    (healthy.root / "dev/ttyUSB0").unlink()
    fact = only(healthy, "port /dev/ttyUSB0")
    assert "--device /dev/ttyUSB0" in fact.fix


def test_a_slow_latency_timer_is_set_by_one_line(healthy):
    grow(healthy.root, {"sys/bus/usb-serial/devices/ttyUSB0/latency_timer": "16\n"})
    fact = only(healthy, "latency timer of ttyUSB0")
    assert fact.found.startswith("16 ms")
    assert fact.fix == "echo 1 | sudo tee /sys/bus/usb-serial/devices/ttyUSB0/latency_timer"


def test_a_chip_without_a_latency_timer_has_no_such_fact(healthy):
    (healthy.root / "sys/bus/usb-serial/devices/ttyUSB0/latency_timer").unlink()
    assert not [fact for fact in ports.facts(healthy) if "latency" in fact.name]


def test_modem_manager_is_found_where_there_are_ports(healthy):
    grow(healthy.root, {"proc/900/comm": "ModemManager\n"})
    assert only(healthy, "ModemManager").fix == "sudo systemctl disable --now ModemManager"


def test_ports_on_the_board_are_named_and_no_matter(healthy):
    (healthy.root / "sys/class/tty/ttyUSB0/device").rmdir()
    (healthy.root / "sys/class/tty/ttyUSB0").rmdir()
    (fact, *_) = ports.facts(healthy)
    assert (fact.state, fact.found) == (State.ABSENT, "no USB or Bluetooth serial port; on the board ttyS0")


# --- Bluetooth --------------------------------------------------------------------------------


@pytest.mark.parametrize(("switch", "fix"), [("soft", "rfkill unblock bluetooth"), ("hard", "rfkill list bluetooth")])
def test_a_radio_that_is_off_is_switched_on(healthy, switch, fix):
    grow(healthy.root, {f"sys/class/rfkill/rfkill0/{switch}": "1\n"})
    assert only(healthy, "Bluetooth radio").fix.startswith(fix)


def test_wifi_that_is_off_is_no_matter(healthy):
    grow(healthy.root, {"sys/class/rfkill/rfkill1/type": "wlan\n", "sys/class/rfkill/rfkill1/soft": "1\n"})
    assert attention(healthy) == {}


def test_bluez_that_does_not_run_is_started(healthy):
    grow(healthy.root, {"proc/700/comm": "bash\n"})
    assert only(healthy, "BlueZ").fix == "sudo systemctl enable --now bluetooth"


def test_bluez_that_is_not_there_is_installed(healthy):
    grow(healthy.root, {"proc/700/comm": "bash\n"})
    assert only(replace(healthy, run=lambda command: "yes" if "timedatectl" in command else None), "BlueZ").fix == (
        "sudo apt-get install bluez"
    )


def test_bluez_older_than_what_bleak_asks_for_is_upgraded(healthy):
    old = {**COMMANDS, ("bluetoothctl", "--version"): "bluetoothctl: 5.48"}
    fact = only(replace(healthy, run=lambda command: old.get(tuple(command))), "BlueZ")
    assert "5.48 runs, older than 5.55" in fact.found


def test_a_bus_without_a_socket_is_started_or_installed(healthy):
    (healthy.root / "run/dbus/system_bus_socket").unlink()
    assert only(healthy, "D-Bus system bus").fix == "sudo apt-get install dbus"
    grow(healthy.root, {"usr/bin/dbus-daemon": ""})
    assert only(healthy, "D-Bus system bus").fix == "sudo systemctl start dbus"


def test_the_bus_is_looked_for_where_the_environment_says(healthy):
    elsewhere = replace(healthy, environment={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/tmp/bus,guid=1"})
    assert "/tmp/bus" in only(elsewhere, "D-Bus system bus").found
    grow(healthy.root, {"tmp/bus": ""})
    assert attention(elsewhere) == {}


def test_without_an_adapter_nothing_of_bluetooth_needs_attention_unless_it_is_needed(healthy):
    (healthy.root / "sys/class/bluetooth/hci0").rmdir()
    (healthy.root / "run/dbus/system_bus_socket").unlink()
    grow(healthy.root, {"proc/700/comm": "bash\n"})
    assert attention(healthy) == {}
    needed = {f.name for f in bluetooth.facts(healthy, needed=True) if f.state is State.ATTENTION}
    assert needed == {"Bluetooth adapter", "BlueZ", "D-Bus system bus"}


# --- processor --------------------------------------------------------------------------------


def test_a_slow_clock_source_is_changed_to_one_that_is_there(healthy):
    grow(healthy.root, {f"{CLOCK}/current_clocksource": "hpet\n"})
    assert only(healthy, "clock source").fix == f"echo tsc | sudo tee /{CLOCK}/current_clocksource"
    grow(healthy.root, {f"{CLOCK}/available_clocksource": "hpet acpi_pm\n"})
    assert "dmesg" in only(healthy, "clock source").fix


def test_a_clock_that_nobody_synchronises_is_told(healthy):
    told = {**COMMANDS, ("timedatectl", "show", "-p", "NTPSynchronized", "--value"): "no"}
    free = replace(healthy, run=lambda command: told.get(tuple(command)))
    assert only(free, "time of day").fix == "sudo timedatectl set-ntp true"
    told["chronyc", "-n", "tracking"] = "Reference ID : 1.2.3.4\nLeap status     : Normal"
    assert attention(free) == {}


def test_one_core_is_too_few_and_so_is_a_control_group_that_grants_one(healthy):
    assert "take turns" in only(replace(healthy, cores=1), "cores").found
    grow(healthy.root, {"sys/fs/cgroup/cpu.max": "100000 100000\n"})
    assert "grants 1:" in only(healthy, "cores").found
    grow(healthy.root, {"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert attention(healthy) == {}


def test_an_old_control_group_counts_too(healthy):
    old = "sys/fs/cgroup/cpu/cpu.cfs_{}_us"
    grow(healthy.root, {old.format("quota"): "150000\n", old.format("period"): "100000\n"})
    assert "grants 1.5:" in only(healthy, "cores").found
    grow(healthy.root, {old.format("quota"): "-1\n"})
    assert attention(healthy) == {}


def test_a_load_above_the_cores_is_told(healthy):
    grow(healthy.root, {"proc/loadavg": "9.00 5.00 2.00 1/500 4242\n"})
    assert only(healthy, "load").found.startswith("9 over the last minute, on 8 cores")


@pytest.mark.parametrize(
    ("governor", "driver", "slow"),
    [
        ("powersave", "acpi-cpufreq", True),
        ("conservative", "intel_cpufreq", True),
        ("powersave", "intel_pstate", False),
        ("powersave", "amd-pstate-epp", False),
        ("schedutil", "cppc_cpufreq", False),
        ("ondemand", "acpi-cpufreq", False),
    ],
)
def test_a_governor_that_keeps_cores_slow_is_changed(healthy, governor, driver, slow):
    at = "sys/devices/system/cpu/cpu0/cpufreq/scaling_"
    grow(healthy.root, {f"{at}governor": f"{governor}\n", f"{at}driver": f"{driver}\n"})
    fixes = [fact.fix for fact in attention(healthy).values()]
    assert fixes == (["sudo cpupower frequency-set -g performance"] if slow else [])


def test_one_slow_core_among_many_is_enough(healthy):
    grow(healthy.root, {"sys/devices/system/cpu/cpu5/cpufreq/scaling_governor": "powersave\n"})
    assert only(healthy, "CPU governor").found.startswith("performance, powersave")


def test_little_memory_and_much_swap_are_told(healthy):
    grow(healthy.root, {"proc/meminfo": MEMINFO.replace("12000000", "300000")})
    assert only(healthy, "memory").found.startswith("only 0.3 GiB of 15.3 free")
    grow(healthy.root, {"proc/meminfo": MEMINFO.replace("SwapFree: 4000000", "SwapFree: 1000000")})
    assert only(healthy, "swap").found.startswith("2.9 GiB are swapped out")


def test_the_memory_that_a_control_group_grants_counts_less_what_it_can_give_back(healthy):
    grow(healthy.root, {"sys/fs/cgroup/memory.max": f"{2**30}\n", "sys/fs/cgroup/memory.current": f"{900 * 2**20}\n"})
    assert only(healthy, "memory").found.startswith("only 0.1 GiB of 1.0 free")
    grow(healthy.root, {"sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {600 * 2**20}\n"})
    assert attention(healthy) == {}


def test_a_container_and_a_virtual_machine_are_named(healthy):
    grow(healthy.root, {".dockerenv": "", "proc/cpuinfo": "flags : fpu hypervisor sse2\n"})
    found = {fact.name: fact.found for fact in processor.facts(healthy)}
    assert found["machine"] == "a docker container on a virtual machine"


def test_the_doctor_changes_nothing(healthy):
    before = sorted((path, path.stat().st_mtime_ns) for path in healthy.root.rglob("*"))
    everything(healthy)
    assert sorted((path, path.stat().st_mtime_ns) for path in healthy.root.rglob("*")) == before
