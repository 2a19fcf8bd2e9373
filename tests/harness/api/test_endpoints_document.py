"""What docs/api.md shows of an `api:` section and of `model.url` works as it stands there, with a server of our own."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.api.running import in_background
from harness.api.served import serve_model
from harness.api.server import ModelServer
from harness.cli import main
from harness.rig import ModelEntry
from harness.rig_schema import ApiSchema, EndpointSchema, ExpectSchema

TEXT = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
PLACE = "http://127.0.0.1:8000"


def blocks():
    """Indented blocks, without their indentation."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") + "\n" for block in found]


def block(beginning):
    (found,) = [text for text in blocks() if text.startswith(beginning)]
    return found


@pytest.fixture(scope="module")
def served():
    with ExitStack() as stack:
        made = serve_model(ModelEntry())
        stack.callback(made.worker.stop)
        yield stack.enter_context(in_background(ModelServer(made)))


@pytest.fixture
def rig(served, tmp_path):
    path = tmp_path / "api.rig.yaml"
    path.write_text(block("schema: 1").replace(PLACE, served))
    return path


def test_the_rig_is_checked_green_against_the_server_of_the_same_document(rig, capsys):
    assert main(["api", "check", str(rig)]) == 0
    table = capsys.readouterr().out
    for endpoint in ("/infer", "too short", "/health", "/metrics"):
        assert endpoint in table


def test_the_rig_runs_green_beside_its_streams(rig, tmp_path):
    assert main(["run", str(rig), "--virtual", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert (tmp_path / "run" / "api.jsonl").read_bytes().count(b"\n") == 30 + 30 + 30 + 1


def test_the_model_is_found_behind_the_url(rig, served, tmp_path):
    rig.write_text(rig.read_text() + block("model:").replace(PLACE, served))
    assert main(["run", str(rig), "--virtual", "--no-recording", "--quiet"]) == 0


def test_the_python_example_runs(rig, monkeypatch):
    monkeypatch.chdir(rig.parent)
    exec(compile(block("from harness.api.endpoints"), "docs/api.md", "exec"), {})


def test_every_command_is_one_that_there_is(capsys):
    shown = [line for line in block("hil serve &").splitlines() if line.startswith("hil api")]
    assert shown
    with pytest.raises(SystemExit):
        main(["api", "check", "--help"])
    said = capsys.readouterr().out
    for option in {word for line in shown for word in line.split() if word.startswith("--")}:
        assert option in said


def test_every_key_is_told():
    for schema in (ApiSchema, EndpointSchema, ExpectSchema):
        for name, field in schema.model_fields.items():
            assert f"{field.alias or name}" in TEXT, name


def test_the_sizes_and_defaults_are_those_of_the_code():
    from harness.api.client import MOST_BYTES

    assert f"longer than {MOST_BYTES // 2**20} MiB" in TEXT
    assert f"| `repeat` | {EndpointSchema.model_fields['repeat'].default} |" in TEXT
    assert f"| `budget_ms` | {EndpointSchema.model_fields['budget_ms'].default:g} |" in TEXT
