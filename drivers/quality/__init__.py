"""Signal quality: a score in 0..1 (< 0.5 is low) with named parts and flags, per modality.

It lives with the drivers because ``read_data()`` returns it. A window's score is its worst part, times
what delivery has left of it. Flags name causes: see FLAGS. Until a stream has delivered for
``shortest_s(kind)`` its score is NaN, neither good nor low, and its flag is ``unknown``.

Which file holds what:

* What drivers and checks call: ``stream`` (scores of a recording, of a window, of samples as they come) with
  ``delivery`` (what was lost), ``windows`` (windows of equal length, and the ``Table`` that a modality fills in).
* One file for what each kind of stream must be like, its ``assess(windows)``: ``ecg``, ``ppg``, ``eeg``, ``eda``,
  ``respiration``, ``temperature``, ``acceleration``, ``heart_rate`` (and ``rr``), ``spo2``, ``affect``, and
  ``generic`` for inputs that may carry anything.
* What scores share: ``rows`` (cut, rank and compare within a row), ``runs`` (of samples for which something holds),
  ``marks`` (events), ``window_beats`` (beats and pulses, how alike and how even they are), ``mains`` (a steady tone).
* What scores of one or two kinds rest on: ``ecg_raw``, ``ecg_lead`` and ``ecg_spikes`` (a lead as it came, filtered,
  and what stands out of it); ``pulse_band`` (light in frequency, for ppg and oximetry); ``cosines`` (for eeg and
  acceleration); ``stillness`` (for eda and temperature).
* What is read from signals, of a whole recording or as samples come, whatever their score: ``beats`` (``ecg_beats``,
  ``ppg_pulses``, ``pulse_feet``; and plainer searches that align streams) on ``beat_stream``, which chooses among the
  candidates of the other ``beat_*``; ``heart_variability`` (rate and variability from beat times); ``oximetry``
  (saturation from two wavelengths); ``breaths`` and ``skin_responses``, both on ``decimation``, ``turning_points``
  and ``running_statistic``.
"""

from __future__ import annotations

from drivers.quality.stream import Score, Scores, StreamScorer, score, score_windows, scores, shortest_s, window_s

FLAGS = {
    "flat": "the same value for longer than the signal ever rests",
    "saturated": "at a rail of the converter, or cut off flat below it",
    "gap": "samples are missing: more than 5 %, or a silence",
    "hum": "mains at 50 or 60 Hz",
    "motion": "moved or knocked: shapes differ from each other, levels jump",
    "low_perfusion": "hardly any pulse in the light (PPG)",
    "off_body": "values that no body has: not worn, lead off, no contact",
    "unknown": "too little of the stream has come to say anything",
    "nan": "values that are no numbers",
    "noise": "broad noise: muscle, or a bad contact",
    "baseline": "the baseline wanders further than the signal is high",
    "pop": "sudden jumps much larger than the signal: an electrode that lets go",
    "blink": "an eye blinked (EEG): named, but no fault of the electrode",
    "coarse": "quantised in steps that are large against the signal",
}
"""Every flag that a score can carry, and what it means."""

__all__ = [
    "FLAGS", "Score", "Scores", "StreamScorer", "score", "score_windows", "scores", "shortest_s", "window_s",
]  # fmt: skip
