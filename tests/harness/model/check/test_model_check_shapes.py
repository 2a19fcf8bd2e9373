import torch
from torch import Tensor, nn

from harness.model.network import FusionNetwork
from harness.verdict import Outcome


class WrongForFour(FusionNetwork):
    def forward(self, inputs, quality=None):
        found = super().forward(inputs, quality)
        return found[:, :5] if len(found) == 4 else found


class MixedRows(nn.Module):
    output_dim = 3

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(10, track_running_stats=False)  # the batch's own statistics, in eval mode too
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(x) if len(x) > 1 else x)


class Plain(nn.Module):
    """The module of a textbook: features in, outputs out, and output_dim says how many."""

    output_dim = 4

    def __init__(self, squeeze=False, broken=False):
        super().__init__()
        self.layer = nn.Linear(10, 4)
        self.squeeze, self.broken = squeeze, broken

    def forward(self, x: Tensor) -> Tensor:
        found = self.layer(x)
        if self.broken:
            found = torch.log(found - found)  # log 0
        return found.mean(dim=1) if self.squeeze else found


def test_a_sound_network_passes_every_batch_size(small, checked, failed):
    found = checked(small(), "shapes", batches=(1, 4, 8, 3))
    assert failed(found) == {}
    batches = ["batch 1", "batch 4", "batch 8", "batch 3"]
    assert [v.subject for v in found.verdicts] == [*batches, "independent rows", "flat line"]


def test_a_wrong_number_of_outputs_is_found_at_the_batch_size_that_has_it(small, checked, failed):
    wrong = failed(checked(small(WrongForFour), "shapes"))
    assert list(wrong) == ["batch 4"]
    assert "(4, 5)" in wrong["batch 4"].reason and "(4, 6)" in wrong["batch 4"].reason


def test_rows_that_a_batch_norm_mixes_are_found(checked, failed):
    wrong = failed(checked(MixedRows(), "shapes", shape=(10,)))
    assert list(wrong) == ["independent rows"]
    assert "batch norm" in wrong["independent rows"].reason
    assert wrong["independent rows"].value > wrong["independent rows"].limit


def test_a_module_of_one_tensor_needs_only_its_shape(checked, failed):
    found = checked(Plain(), "shapes", "determinism", "missing", "quality_aware", "fusion", shape=(10,))
    assert failed(found) == {}
    notes = {note.section: note.text for note in found.notes}
    assert "not applicable" in notes["missing"] and "not applicable" in notes["quality_aware"]
    assert not any(verdict.check in ("missing", "quality_aware", "fusion") for verdict in found.verdicts)


def test_an_output_without_a_dimension_of_its_own_is_named(checked, failed):
    wrong = failed(checked(Plain(squeeze=True), "shapes", shape=(10,)))
    assert set(wrong) == {"batch 1", "batch 4", "batch 8"}
    assert "unsqueeze" in wrong["batch 8"].reason


def test_rows_that_are_mixed_are_found_where_outputs_are_small_and_half_precision_is_not_taken_for_mixing(
    checked, failed
):
    class Small(MixedRows):
        def forward(self, x):
            return 1e-4 * super().forward(x)

    class Half(Plain):
        def forward(self, x):
            return super().forward(x).to(torch.bfloat16)

    assert list(failed(checked(Small(), "shapes", shape=(10,)))) == ["independent rows"]
    assert failed(checked(Half(), "shapes", shape=(10,))) == {}


def test_outputs_that_are_not_finite_are_counted(checked, failed):
    wrong = failed(checked(Plain(broken=True), "shapes", shape=(10,)))
    assert wrong["batch 4"].value == 16
    assert "every input is finite" in wrong["batch 4"].reason


def test_a_module_that_answers_no_batch_fails_once_and_is_not_asked_again(small, checked):
    class Raises(FusionNetwork):
        def forward(self, inputs, quality=None):
            raise KeyError("pulse")

    found = checked(small(Raises), "shapes", "fusion", "determinism", "missing")
    assert [v.outcome for v in found.verdicts] == [Outcome.FAIL]
    assert "KeyError" in found.verdicts[0].reason and "test_model_check_shapes.py" in found.verdicts[0].reason
    assert "determinism" in found.notes[0].text


def test_a_module_that_wants_a_tensor_and_gets_a_mapping_is_told_of_input_shape(checked):
    class Untold(Plain):
        def forward(self, x):
            return self.layer(x)

    found = checked(Untold(), "shapes")
    assert "--input-shape 10" in found.verdicts[0].reason


def test_windows_of_a_wrong_length_that_are_answered_are_a_note_and_no_failure(small, checked, failed):
    found = checked(small(), "shapes")
    assert failed(found) == {}
    assert any("a sample more" in note.text and "eda" in note.text for note in found.notes)
    assert checked(Plain(), "shapes", shape=(10,)).notes[0].section == "examples"  # a linear layer refuses 11 features


class Standardised(nn.Module):
    """Divides each window by its own spread, which is 0 for a flat line unless something is added."""

    output_dim = 2

    def __init__(self, epsilon):
        super().__init__()
        self.layer, self.epsilon = nn.Linear(10, 2), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(((x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.epsilon))[:, 0])


def test_a_flat_line_that_becomes_nan_is_found_and_one_that_does_not_is_not(checked, failed):
    wrong = failed(checked(Standardised(0.0), "shapes", shape=(1, 10)))
    assert list(wrong) == ["flat line"]
    assert wrong["flat line"].value == 8.0  # two levels, two windows, two outputs
    assert "epsilon" in wrong["flat line"].reason
    assert failed(checked(Standardised(1e-6), "shapes", shape=(1, 10))) == {}


def test_a_batch_of_one_that_is_squeezed_away_is_named(checked, failed):
    class Squeezed(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()

    wrong = failed(checked(Squeezed(), "shapes", shape=(10,)))
    assert "squeeze()" in wrong["batch 1"].reason and "batch 8" not in wrong


def test_a_batch_norm_that_trains_and_gets_one_window_is_named(checked, failed):
    class Trains(MixedRows):
        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm.train()(x))

    assert "batch norm" in failed(checked(Trains(), "shapes", shape=(10,)))["batch 1"].reason
