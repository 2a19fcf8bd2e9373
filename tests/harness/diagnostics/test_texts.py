"""Error texts are explained by the exceptions that libraries really raise."""

from __future__ import annotations

import contextlib
import importlib
import os
import pty
import resource
import socket
import subprocess
import traceback
from pathlib import Path

import numpy as np
import pytest

from drivers.links.port import refusal
from harness.diagnostics.texts import LONGEST, diagnose_text, hint


def raised(call):
    """The whole traceback of what a call raises."""
    try:
        call()
    except Exception:  # noqa: BLE001  whatever a library raises
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


def first(text):
    found = diagnose_text(text)
    assert found, text
    return found[0]


# --- torch ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return importlib.import_module("torch")


def test_a_linear_layer_given_too_few_features_is_a_shape_mismatch_with_both_numbers(torch):
    found = first(raised(lambda: torch.nn.Linear(20, 5)(torch.randn(3, 10))))
    assert found.rule == "shape-mismatch"
    assert "takes 20 features and was given 10" in found.cause
    assert any("mat1 and mat2" in line for line in found.evidence)


def test_a_convolution_given_too_many_channels_is_a_shape_mismatch_with_both_numbers(torch):
    found = first(raised(lambda: torch.nn.Conv1d(1, 8, 5)(torch.randn(4, 2, 100))))
    assert found.rule == "shape-mismatch"
    assert "takes 1 channels and was given 2" in found.cause


def test_tensors_that_do_not_broadcast_are_a_shape_mismatch_in_a_named_dimension(torch):
    found = first(raised(lambda: torch.ones(2, 3) + torch.ones(2, 4)))
    assert found.rule == "shape-mismatch"
    assert "sizes 3 and 4 in dimension 1" in found.cause


@pytest.mark.parametrize("case", ["cat", "view", "stack", "dimensions"])
def test_other_shapes_that_disagree_are_shape_mismatches(torch, case):
    calls = {
        "cat": lambda: torch.cat([torch.ones(2, 3), torch.ones(3, 4)]),
        "view": lambda: torch.ones(6).view(4, 2),
        "stack": lambda: torch.stack([torch.ones(2), torch.ones(3)]),
        "dimensions": lambda: torch.nn.Conv1d(1, 1, 1)(torch.ones(1, 1, 1, 1)),
    }
    assert first(raised(calls[case])).rule == "shape-mismatch"


def test_weights_of_another_width_are_told_from_a_wrong_input(torch):
    found = first(raised(lambda: torch.nn.Linear(20, 5).load_state_dict(torch.nn.Linear(10, 5).state_dict())))
    assert found.rule == "weights-mismatch"
    assert "weights of weight were saved" in found.cause


def test_weights_with_other_names_are_told_with_such_a_name(torch):
    state = {f"module.{name}": value for name, value in torch.nn.Linear(2, 2).state_dict().items()}
    found = first(raised(lambda: torch.nn.Linear(2, 2).load_state_dict(state)))
    assert found.rule == "weights-mismatch"
    assert "module.weight" in found.cause


def test_too_large_a_tensor_is_out_of_memory_with_its_size(torch):
    found = first(raised(lambda: torch.empty(10**15, dtype=torch.uint8)))
    assert found.rule == "out-of-memory"
    assert f"{10**15} bytes" in found.cause


def test_cuda_out_of_memory_is_told_with_the_size_that_was_asked_for(torch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU: only its allocator raises this")
    found = first(raised(lambda: torch.empty(10**15, dtype=torch.uint8, device="cuda")))
    assert found.rule == "cuda-out-of-memory"
    assert "batch" in found.next_step


def test_the_class_that_torch_raises_for_an_exhausted_gpu_is_known(torch):
    def exhausted():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 8 GiB")

    found = first(raised(exhausted))
    assert found.rule == "cuda-out-of-memory"
    assert "2.50 GiB" in found.cause


def test_a_gradient_of_a_root_at_zero_is_named_with_the_function(torch):
    def step():
        x = torch.zeros(3, requires_grad=True)
        with torch.autograd.set_detect_anomaly(True, check_nan=True), pytest.warns(UserWarning):
            (torch.sqrt(x) * 0).sum().backward()

    found = first(raised(step))
    assert found.rule == "nan-in-gradient"
    assert "SqrtBackward0" in found.cause


def test_float64_from_numpy_against_float32_weights_is_a_matter_of_types(torch):
    found = first(raised(lambda: torch.nn.Linear(4, 2)(torch.from_numpy(np.ones((1, 4))))))
    assert found.rule == "dtype-mismatch"
    assert ".float()" in found.next_step


def test_a_tensor_changed_in_place_is_told(torch):
    def step():
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        y += 1
        y.sum().backward()

    assert first(raised(step)).rule == "changed-in-place"


def test_a_loss_without_weights_is_told(torch):
    assert first(raised(lambda: torch.ones(1).sum().backward())).rule == "no-gradient"


def test_cuda_on_a_machine_without_it_is_told(torch):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a CUDA GPU")
    assert first(raised(lambda: torch.ones(1).to("cuda"))).rule == "no-cuda"


def test_a_file_with_python_objects_in_it_is_not_advised_to_be_trusted(torch, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": Path}, path)
    found = first(raised(lambda: torch.load(path, weights_only=True)))
    assert found.rule == "pickled-model"
    assert "never switch weights_only off" in found.next_step


# --- numpy and numbers ----------------------------------------------------------------------------


def test_arrays_that_do_not_broadcast_are_a_shape_mismatch():
    assert first(raised(lambda: np.ones(3) + np.ones(4))).rule == "shape-mismatch"


def test_too_large_an_array_is_out_of_memory_with_its_size():
    found = first(raised(lambda: np.empty(2**50)))
    assert found.rule == "out-of-memory"
    assert "8.00 PiB" in found.cause


@pytest.mark.parametrize("text", ["NaN in loss at step 12", "step 40 loss: nan", "loss=inf lr=0.1", "the loss is NaN"])
def test_a_loss_that_is_no_number_is_unstable_training(text):
    found = first(text)
    assert found.rule == "nan-in-loss"
    assert "clip" in found.next_step
    assert "learning rate" in found.next_step


def test_a_clean_line_of_training_is_not_explained():
    assert diagnose_text("step 40 loss: 0.123; every output finite; 0 windows failed; nano second") == []


# --- networks -------------------------------------------------------------------------------------


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_where_nothing_listens_is_a_service_that_does_not_run():
    found = first(raised(lambda: socket.create_connection(("127.0.0.1", closed_port()))))
    assert found.rule == "connection-refused"
    assert "does not run" in found.cause
    assert "hil serve" in found.next_step


def test_what_httpx_says_of_a_refused_connection_is_known():
    httpx = pytest.importorskip("httpx", reason="needs httpx: pip install 'spiral-hil[api]'")
    found = first(raised(lambda: httpx.get(f"http://127.0.0.1:{closed_port()}/", trust_env=False)))
    assert found.rule == "connection-refused"


def test_a_server_that_does_not_answer_is_a_timeout():
    httpx = pytest.importorskip("httpx", reason="needs httpx: pip install 'spiral-hil[api]'")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        found = first(raised(lambda: httpx.get(url, timeout=0.05, trust_env=False)))
    assert found.rule == "timeout"


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = first(raised(lambda: socket.create_server(("127.0.0.1", port))))
    assert found.rule == "address-in-use"


# --- serial ports, Bluetooth ----------------------------------------------------------------------


def test_a_serial_port_that_is_not_there_is_told_by_what_pyserial_says():
    serial = importlib.import_module("serial")
    found = first(raised(lambda: serial.Serial("/dev/ttyUSB77")))
    assert found.rule == "no-such-port"
    assert any("/dev/ttyUSB77" in line for line in found.evidence)


def test_a_serial_port_that_another_program_has_is_busy():
    serial = importlib.import_module("serial")
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        with serial.Serial(name, exclusive=True):
            found = first(raised(lambda: serial.Serial(name, exclusive=True)))
    finally:
        os.close(master)
        os.close(slave)
    assert found.rule == "port-busy"


def test_a_serial_port_that_is_unplugged_while_it_is_read_is_gone():
    serial = importlib.import_module("serial")
    master, slave = pty.openpty()
    with serial.Serial(os.ttyname(slave), timeout=1) as port:
        os.close(slave)
        os.close(master)
        assert first(raised(lambda: port.read(1))).rule == "port-gone"


def test_a_serial_port_without_permission_says_which_group():
    error = PermissionError(13, "Permission denied", "/dev/ttyUSB0")  # as open() fills it; root may open everything
    found = first(repr(str(error)))
    assert found.rule == "port-permission"
    assert "dialout" in found.next_step


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("org.bluez.Error.NotReady", "bluetooth-off"),
        ("org.bluez.Error.InProgress", "bluetooth-busy"),
        ("org.bluez.Error.AuthenticationFailed", "bluetooth-pairing"),
        ("org.bluez.Error.Failed", "bluetooth-failed"),
        ("org.freedesktop.DBus.Error.ServiceUnknown", "bluez-not-there"),
    ],
)
def test_what_bleak_says_of_bluez_is_known(name, rule):
    exc = importlib.import_module("bleak.exc")
    assert first(str(exc.BleakDBusError(name, ["Operation failed"]))).rule == rule


# --- the system -----------------------------------------------------------------------------------


def test_a_full_disk_is_told():
    def fill():
        with Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full (Linux)")
    assert first(raised(fill)).rule == "disk-full"


def test_too_many_open_files_are_told():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []

    def open_many():
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        with contextlib.suppress(OSError):
            open_many()
        error = ""
        try:
            os.open("/dev/null", os.O_RDONLY)
        except OSError as trouble:
            error = str(trouble)
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert first(error).rule == "too-many-files"


def test_a_file_that_may_not_be_run_is_a_matter_of_permission(tmp_path):
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\n")
    assert first(raised(lambda: subprocess.run([str(path)], check=True))).rule == "permission"


@pytest.mark.parametrize(
    ("pattern", "rule", "advice"),
    [
        ("CUDA out of memory", "cuda-out-of-memory", "batch"), ("NaN in loss", "nan-in-loss", "clip gradients"),
        ("Shape mismatch", "shape-mismatch", "shapes"), ("Connection refused", "connection-refused", "start it"),
        ("Import error", "import-error", "install"),
    ],
)  # fmt: skip
def test_the_five_patterns_that_everybody_meets_are_known_by_their_bare_names(pattern, rule, advice):
    found = first(pattern)
    assert found.rule == rule
    assert advice in found.next_step


# --- how it is told -------------------------------------------------------------------------------


def test_the_evidence_names_the_line_of_ones_own_code_that_led_there():
    found = first(raised(lambda: importlib.import_module("no_such_module_here")))
    assert any("test_texts.py" in line for line in found.evidence)


def test_a_log_of_many_megabytes_is_read_from_its_end():
    assert first("x\n" * LONGEST + "OSError: [Errno 28] No space left on device").rule == "disk-full"


def test_several_errors_in_one_log_are_all_told_most_specific_first():
    text = "Connection refused\nNo space left on device\nmat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)\n"
    found = diagnose_text(text)
    assert [one.rule for one in found] == ["disk-full", "shape-mismatch", "connection-refused"]


def test_braces_in_a_message_do_no_harm():
    assert first("ModuleNotFoundError: No module named 'a' {0} {module}").rule == "import-error"


def test_a_hint_is_given_where_the_message_has_no_advice_of_its_own():
    assert "pip install numpy" in hint("No module named 'numpy'")


def test_a_hint_is_not_given_where_the_message_says_the_same():
    absent = refusal("/dev/ttyUSB77", FileNotFoundError(2, "No such file or directory", "/dev/ttyUSB77"))
    assert diagnose_text(str(absent))[0].rule == "no-such-port"
    assert hint(str(absent)) == ""
    forbidden = refusal("/dev/null", PermissionError(13, "Permission denied", "/dev/null"))
    assert diagnose_text(str(forbidden))[0].rule == "port-permission"
    assert "usermod" not in hint(str(forbidden))


def test_nothing_is_said_of_a_text_that_nobody_knows():
    assert diagnose_text("everything went well") == []
    assert hint("rigs/demo.rig.yaml:3:1: unknown key 'senors'; did you mean 'sensors'?") == ""
