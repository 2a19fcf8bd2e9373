"""Bodies of POST /infer: arrays come back as they went, and what is wrong is named with its place."""

import json

import jsonschema
import numpy as np
import pytest

from harness.api.wire import (
    MOST_WINDOWS,
    WireError,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    parse_json,
    request_schema,
    response_schema,
    to_body,
)
from harness.model.inputs import INPUTS, InputSpec

SPECS = {
    "ecg": InputSpec("ecg", 1, 0.04, 125.0, "mV"),
    "a/b~c": InputSpec("a/b~c", 2, 1.0, 3.0),
    "rr": InputSpec("rr", 1, 4.0, None, "ms", events=2),
}


def carried(document):
    return parse_json(json.dumps(document).encode())


def refusal(body, specs=SPECS):
    with pytest.raises(WireError) as caught:
        decode_request(parse_json(body.encode() if isinstance(body, str) else body), specs)
    return caught.value


def one_ecg(*values):
    return '{"inputs": {"ecg": [[' + ", ".join(values) + "]]}}"


@pytest.mark.parametrize("batch", [1, 4])
def test_windows_come_back_bit_for_bit(batch):
    rng = np.random.default_rng(1)
    inputs = {n: rng.normal(size=(batch, s.channels, s.length)).astype(np.float32) for n, s in INPUTS.items()}
    quality = {name: rng.uniform(size=batch).astype(np.float32) for name in INPUTS}
    windows, levels = decode_request(carried(encode_request(inputs, quality)), INPUTS)
    assert list(windows) == list(INPUTS)
    for name in INPUTS:
        assert windows[name].dtype == np.float32 and np.array_equal(windows[name], inputs[name])
        assert np.array_equal(levels[name], quality[name])


def test_bodies_are_what_pythons_own_json_reads_and_writes():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=500), 10.0 ** rng.uniform(-40, 38, 500), [0.0, -0.0, 5e-324, 1e22]])
    document = {"inputs": {"ecg": [values.tolist()]}}
    assert json.loads(to_body(document)) == document
    assert parse_json(json.dumps(document).encode()) == document
    assert np.array_equal(np.signbit(parse_json(to_body(document))["inputs"]["ecg"][0]), np.signbit(values))


def test_a_key_twice_is_found_at_every_level():
    for text in ('{"a": 1, "a": 1}', '{"a": {"b": 1, "b": 1}}', '[{"a": 1, "a": 1}]', '{"\\u0061": 1, "a": 1}'):
        found = parse_json(text.encode())
        while type(found) in (list, dict):
            found = found[0] if isinstance(found, list) else found["a"]
        assert found.key in ("a", "b")


def test_one_key_twice_among_very_many_is_found_without_comparing_each_with_each():
    keys = ", ".join(f'"{number}": 0' for number in range(100_000))
    assert parse_json(f'{{{keys}, "99999": 0}}'.encode()).key == "99999"


def test_a_window_without_a_batch_is_a_batch_of_one():
    single = np.arange(5, dtype=np.float32).reshape(1, 5)
    windows, quality = decode_request(carried(encode_request({"ecg": single})), SPECS)
    assert np.array_equal(windows["ecg"], single[None]) and np.array_equal(quality["ecg"], [1.0])


def test_quality_is_one_where_nothing_is_said_and_one_number_goes_for_a_whole_batch():
    inputs = {"ecg": np.zeros((3, 1, 5)), "rr": np.zeros((3, 1, 2))}
    _, quality = decode_request(carried(encode_request(inputs, {"ecg": 0.25})), SPECS)
    assert quality["ecg"].tolist() == [0.25] * 3 and quality["rr"].tolist() == [1.0] * 3


def test_whole_numbers_and_signed_zeros_are_numbers():
    windows, _ = decode_request(parse_json(one_ecg("1", "-0.0", "2e2", "0", "-7").encode()), SPECS)
    assert windows["ecg"].tolist() == [[[1.0, 0.0, 200.0, 0.0, -7.0]]]
    assert np.signbit(windows["ecg"][0, 0, 1])


OK5 = "[[1, 2, 3, 4, 5]]"
WRONG = {
    "text for the whole": ('"ecg"', "", "object", 422),
    "array for the whole": ("[]", "", "object", 422),
    "no inputs": ("{}", "/inputs", "windows", 422),
    "unknown key": ('{"inputs": {"ecg": %s}, "x": 1}' % OK5, "/x", "inputs, quality", 422),  # noqa: UP031
    "inputs is an array": ('{"inputs": []}', "/inputs", "object", 422),
    "no modality": ('{"inputs": {}}', "/inputs", "ecg", 422),
    "unknown modality": ('{"inputs": {"ekg": [[1]]}}', "/inputs/ekg", "ecg", 422),
    "modality twice": ('{"inputs": {"ecg": [[1]], "ecg": [[2]]}}', "/inputs/ecg", "once", 422),
    "null": ('{"inputs": {"ecg": null}}', "/inputs/ecg", "leave out", 422),
    "a number": ('{"inputs": {"ecg": 3}}', "/inputs/ecg", "[1][5]", 422),
    "flat": ('{"inputs": {"ecg": [1, 2, 3, 4, 5]}}', "/inputs/ecg", "1 channels", 422),
    "empty": ('{"inputs": {"ecg": []}}', "/inputs/ecg", "[1][5]", 422),
    "no row": ('{"inputs": {"ecg": [[]]}}', "/inputs/ecg/0", "5 numbers", 422),
    "too short": (one_ecg("1", "2", "3", "4"), "/inputs/ecg/0", "5 numbers", 422),
    "too long in a batch": ('{"inputs": {"ecg": [[[1,2,3,4,5]], [[1,2,3,4,5,6]]]}}', "/inputs/ecg/1/0", "5 num", 422),
    "too many channels": ('{"inputs": {"rr": [[1, 2], [3, 4]]}}', "/inputs/rr", "1 channels", 422),
    "ragged nesting": ('{"inputs": {"ecg": [[[1,2,3,4,5]], 7]}}', "/inputs/ecg/1", "1 channels", 422),
    "deeper in one place": (one_ecg("1", "2", "[3]", "4", "5"), "/inputs/ecg/0/2", "a number", 422),
    "bool": (one_ecg("1", "2", "3", "true", "5"), "/inputs/ecg/0/3", "found true", 422),
    "text for a number": (one_ecg("1", '"2"', "3", "4", "5"), "/inputs/ecg/0/1", 'the text "2"', 422),
    "null for a number": (one_ecg("1", "2", "3", "4", "null"), "/inputs/ecg/0/4", "found null", 422),
    "NaN": (one_ecg("1", "2", "3", "4", "NaN"), "/inputs/ecg/0/4", "found NaN", 422),
    "Infinity": (one_ecg("-Infinity", "2", "3", "4", "5"), "/inputs/ecg/0/0", "-Infinity", 422),
    "1e400": (one_ecg("1", "1e400", "3", "4", "5"), "/inputs/ecg/0/1", "beyond any float", 422),
    "too large for 32 bits": (one_ecg("1", "1e39", "3", "4", "5"), "/inputs/ecg/0/1", "1e+39", 422),
    "400 digits": (one_ecg("1", "2", "9" * 400, "4", "5"), "/inputs/ecg/0/2", "400 digits", 422),
    "NaN in a batch": (
        '{"inputs": {"a/b~c": [[[1,1,1],[1,1,1]], [[1,1,1],[1,NaN,1]]]}}', "/inputs/a~1b~0c/1/1/1", "NaN", 422,
    ),
    "unequal batches": ('{"inputs": {"ecg": [%s, %s], "rr": [[1, 2]]}}' % (OK5, OK5), "/inputs/rr", "2", 422),  # noqa: UP031
    "quality is a number": ('{"inputs": {"ecg": %s}, "quality": 1}' % OK5, "/quality", "object", 422),  # noqa: UP031
    "quality of what is absent": ('{"inputs": {"ecg": %s}, "quality": {"rr": 1}}' % OK5, "/quality/rr", "ecg", 422),  # noqa: UP031
    "negative quality": ('{"inputs": {"ecg": %s}, "quality": {"ecg": -0.1}}' % OK5, "/quality/ecg", "0 to 1", 422),  # noqa: UP031
    "quality 2": ('{"inputs": {"ecg": %s}, "quality": {"ecg": 2}}' % OK5, "/quality/ecg", "found 2", 422),  # noqa: UP031
    "quality NaN": ('{"inputs": {"ecg": %s}, "quality": {"ecg": [NaN]}}' % OK5, "/quality/ecg/0", "NaN", 422),  # noqa: UP031
    "quality true": ('{"inputs": {"ecg": %s}, "quality": {"ecg": true}}' % OK5, "/quality/ecg", "true", 422),  # noqa: UP031
    "too many qualities": ('{"inputs": {"ecg": %s}, "quality": {"ecg": [1, 1]}}' % OK5, "/quality/ecg", "of 1", 422),  # noqa: UP031
    "cut off": ('{"inputs": {"ecg": [[1, 2', "", "line 1 column", 400),
    "empty body": ("", "", "found nothing", 400),
    "blank body": (" \n", "", "found nothing", 400),
    "not JSON": ("inputs=1", "", "JSON", 400),
    "not UTF-8": (b'{"inputs": "\xff"}', "", "0xff at offset 12", 400),
    "deep nesting": ("[" * 100_000, "", "nested too deeply", 400),
    "5000 digits": ("9" * 5000, "", "thousands of digits", 400),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_body_is_refused_with_its_place(case):
    body, where, word, status = WRONG[case]
    error = refusal(body)
    assert (error.where, error.status) == (where, status)
    assert word in str(error)
    assert str(error).startswith(where or "the body") and len(str(error)) < 300


def test_a_batch_beyond_the_limit_is_refused_before_it_is_read():
    body = {"inputs": {"rr": [[[1, 2]]] * (MOST_WINDOWS + 1)}}
    assert f"at most {MOST_WINDOWS} windows" in str(refusal(json.dumps(body)))


def test_what_json_cannot_carry_is_not_sent():
    with pytest.raises(WireError, match="/inputs/ecg/0/2: expected a finite number, found nan"):
        encode_request({"ecg": np.array([[1, 2, np.nan, 4, 5]])})
    with pytest.raises(WireError, match="/quality/ecg: expected a finite number, found inf"):
        encode_request({"ecg": np.zeros((1, 5))}, {"ecg": np.inf})


def test_an_answer_comes_back_as_it_went():
    outputs = np.random.default_rng(2).normal(size=(4, 3))
    answer = decode_response(carried(encode_response(outputs, ("a", "b", "c"), "m", "f00", 1.25)), windows=4)
    assert np.array_equal(answer.outputs, outputs)
    assert (answer.names, answer.model, answer.sha256, answer.ms) == (("a", "b", "c"), "m", "f00", 1.25)


GOOD = {"outputs": [[1.0, 2.0]], "names": ["a", "b"], "model": "m", "sha256": "x", "ms": 1}
ANSWERS = {
    "no object": ([], ""),
    "no outputs": ({**GOOD, "outputs": None}, "/outputs"),
    "a row too many": ({**GOOD, "outputs": [[1, 2], [1, 2]]}, "/outputs"),
    "no row": ({**GOOD, "outputs": [3]}, "/outputs/0"),
    "NaN": ({**GOOD, "outputs": [[1, float("nan")]]}, "/outputs/0/1"),
    "bool": ({**GOOD, "outputs": [[True, 2]]}, "/outputs/0/0"),
    "a digit short": ({**GOOD, "outputs": [[10**400, 2]]}, "/outputs/0/0"),
    "names missing": ({**GOOD, "names": "ab"}, "/names"),
    "a name short": ({**GOOD, "names": ["a"]}, "/names"),
    "model is none": ({**GOOD, "model": None}, "/model"),
    "no sha256": ({k: v for k, v in GOOD.items() if k != "sha256"}, "/sha256"),
    "negative time": ({**GOOD, "ms": -1}, "/ms"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_answer_is_refused_with_its_place(case):
    document, where = ANSWERS[case]
    with pytest.raises(WireError) as caught:
        decode_response(document, windows=1)
    assert caught.value.where == where


def test_ragged_rows_of_an_answer_are_refused():
    with pytest.raises(WireError, match="/outputs/1: expected an array of 2 numbers, found an array of 1"):
        decode_response({**GOOD, "outputs": [[1, 2], [1]]})


def test_the_schemas_are_schemas_and_take_what_the_functions_take():
    schema = request_schema(SPECS)
    jsonschema.Draft202012Validator.check_schema(schema)
    request = encode_request({"ecg": np.zeros((1, 5)), "rr": np.zeros((2, 1, 2))}, {"ecg": [1.0], "rr": 0.5})
    jsonschema.Draft202012Validator(schema).validate(request)
    answer = encode_response(np.zeros((2, 2)), ("a", "b"), "m", "x", 0.1)
    for names in ((), ("a", "b")):
        jsonschema.Draft202012Validator.check_schema(response_schema(names))
        jsonschema.Draft202012Validator(response_schema(names)).validate(answer)
    assert not jsonschema.Draft202012Validator(response_schema(("a", "c"))).is_valid(answer)


BEYOND = ("unequal batches", "quality of what is absent", "too many qualities", "modality twice")
"""What a schema cannot say: how one part of a body relates to another. NaN is no JSON, so it says nothing of that."""
SAYABLE = [
    case for case, (body, *_, status) in WRONG.items() if status == 422 and case not in BEYOND and "NaN" not in body
]


@pytest.mark.parametrize("case", SAYABLE)
def test_the_schema_refuses_what_the_function_refuses(case):
    assert not jsonschema.Draft202012Validator(request_schema(SPECS)).is_valid(json.loads(WRONG[case][0]))
