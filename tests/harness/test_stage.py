"""The model as a stage: what it is wired to, and that its faults are counted and never thrown."""

import numpy as np
import pytest
import torch

from drivers.types import Samples, StreamSpec
from harness.model.errors import LoadError, WiringError
from harness.model.inputs import INPUTS
from harness.rig import ModelEntry
from harness.stage import MOST_FAULTS, ModelStage, wire
from harness.track import Track

S = 1_000_000_000
ECG = StreamSpec("ecg", "ecg", ("ch1", "ch2"), "mV", 250.0)
EDA = StreamSpec("eda", "eda", ("v",), "uS", 8.0)
STREAMS = {"chest/ecg": ECG, "wrist/eda": EDA, "spare/ecg": ECG}


class Obedient(torch.nn.Module):
    """Does with each call what ``acts`` says next; the last one over and over."""

    def __init__(self, *acts):
        super().__init__()
        self.acts, self.batches = list(acts), []

    def forward(self, inputs):
        batch = next(iter(inputs.values()))
        self.batches.append(len(batch))
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        return act(batch)


def fine(batch):
    return batch[:, 0, :3].clone()


def nan_where_negative(batch):
    return torch.where(batch[:, 0, :3] < 0, torch.nan, 1.0)


def raising(batch):
    raise RuntimeError("out of cheese")


def prepared(monkeypatch, *acts, **entry):
    module = Obedient(*acts)
    monkeypatch.setattr("harness.model.load.build_module", lambda factory: module)
    stage = ModelStage(ModelEntry(factory="tests:made", **entry))
    stage.prepare({"chest/ecg": ECG})
    return stage, module


def windows(*levels):
    values = np.array(levels, dtype=np.float32)[:, None, None] * np.ones((1, 1, INPUTS["ecg"].length), np.float32)
    return {"ecg": values}, {"ecg": np.ones(len(levels), np.float32)}


def test_a_model_at_work_has_no_faults_and_says_how_many_outputs_it_has(monkeypatch):
    stage, _ = prepared(monkeypatch, fine)
    assert stage.outputs == 3
    np.testing.assert_allclose(stage.infer(windows(1.0, 2.0))[:, 0], [1.0, 2.0])
    assert stage.errors() == ()
    assert stage.host["model_warm_up"]["n"] == 20


def test_of_a_batch_only_the_windows_that_the_model_fails_on_are_lost(monkeypatch):
    stage, _ = prepared(monkeypatch, nan_where_negative)
    found = stage.infer(windows(1.0, -1.0, 1.0, -1.0, 1.0))
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [False, True, False, True, False])
    (error,) = stage.errors()
    assert "returned nan" in error
    assert error.endswith("(2 windows)")


def test_a_model_that_fails_in_its_warm_up_is_run_all_the_same(monkeypatch):
    stage, _ = prepared(monkeypatch, raising, fine)
    assert stage.outputs == 0, "nobody knows yet"
    assert stage.infer(windows(1.0)).shape == (1, 3)
    assert stage.outputs == 3
    (error,) = stage.errors()
    assert error.startswith("in the warm-up, on windows of zeros")
    assert "out of cheese" in error


def test_as_long_as_nothing_usable_has_come_a_failed_window_still_has_a_column(monkeypatch):
    """Or else all of its no outputs would be finite."""
    stage, _ = prepared(monkeypatch, raising)
    assert stage.infer(windows(1.0, 2.0)).shape == (2, 1)
    assert np.isnan(stage.infer(windows(1.0))).all()


def test_rows_from_before_the_first_usable_output_get_its_width(monkeypatch):
    stage, _ = prepared(monkeypatch, raising, raising, raising, fine)  # the warm-up, the batch, its first window
    found = stage.infer(windows(1.0, 2.0))
    assert found.shape == (2, 3)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [True, False])


def test_faults_with_ever_new_words_do_not_fill_the_memory(monkeypatch):
    numbers = iter(range(10_000))

    def babbling(batch):
        raise RuntimeError(f"bad window {next(numbers)}")

    stage, _ = prepared(monkeypatch, fine, *[fine] * 19, babbling)
    for _ in range(100):
        stage.infer(windows(1.0))
    assert len(stage.errors()) == MOST_FAULTS + 1
    assert stage.errors()[-1] == f"faults of other kinds ({100 - MOST_FAULTS} windows)"


def test_the_first_fault_of_each_kind_is_told_at_once(monkeypatch):
    words = iter(["a", "a", "b", "a", "b"])

    def failing(batch):
        raise RuntimeError(next(words))

    stage, _ = prepared(monkeypatch, fine, *[fine] * 19, failing)
    told = []
    stage.on_fault = told.append
    counts = []
    for _ in range(5):
        stage.infer(windows(1.0))
        counts.append(len(told))
    assert counts == [1, 1, 2, 2, 2]
    assert [error.rpartition(" (")[0] for error in stage.errors()] == told


def test_a_factory_that_is_not_there_is_not_the_models_fault():
    with pytest.raises(LoadError, match="no module 'no_such_place'"):
        ModelStage(ModelEntry(factory="no_such_place:make")).prepare(STREAMS)


def test_the_first_stream_of_a_modality_feeds_it_unless_the_rig_names_another():
    assert {w.spec.modality: w.stream for w in wire(ModelEntry(), INPUTS, STREAMS)} == {
        "ecg": "chest/ecg", "eda": "wrist/eda",
    }  # fmt: skip
    named = ModelEntry(inputs={"ecg": {"stream": "spare/ecg"}})
    assert wire(named, INPUTS, STREAMS)[0].stream == "spare/ecg"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"ecg": {"stream": "chset/ecg"}}, "no stream 'chset/ecg' in this rig, which has chest/ecg"),
        ({"ecg": {"stream": "chest/ecg", "channels": [2]}}, "chest/ecg has channels 0 to 1"),
    ],
)
def test_a_wire_that_leads_nowhere_is_refused(inputs, words):
    with pytest.raises(WiringError, match=words):
        wire(ModelEntry(inputs=inputs), INPUTS, STREAMS)


def test_a_rig_without_a_stream_for_the_model_is_refused():
    with pytest.raises(WiringError, match=r"no stream of this rig fits .* it has a/raw \(raw\)"):
        wire(ModelEntry(), INPUTS, {"a/raw": StreamSpec("raw", "raw", ("v",), "1", 10.0)})


def test_the_model_gets_its_channels_in_its_unit_and_never_what_came_after_the_window_closed(monkeypatch):
    seen = []

    def looking(batch):
        seen.append(batch.clone())
        return fine(batch)

    stage, _ = prepared(monkeypatch, looking, inputs={"ecg": {"stream": "chest/ecg", "channels": [1]}})
    track = Track(ECG)
    times_ns = (np.arange(3000) * S) // 250
    late = times_ns > 9 * S
    values = np.stack([np.full(3000, 9.0), np.where(late, 7.0, 2.0)], axis=1)
    track.add(Samples("ecg", values, np.arange(3000), np.where(late, 11 * S, times_ns)), times_ns)
    stage.attach({"chest/ecg": track})
    due = np.array([10 * S])
    inputs, scores = stage.gather(due, {}, closed_ns=due + S // 20, late=np.ones((1, 1), np.int64))
    stage.infer((inputs, scores))
    factor = {"uV": 1000.0, "mV": 1.0}[INPUTS["ecg"].unit]
    assert set(np.unique(seen[-1].numpy())) == {2.0 * factor}
    assert scores["ecg"][0] == pytest.approx(1 - 1 / INPUTS["ecg"].seconds, abs=0.02), "the last second is missing"
