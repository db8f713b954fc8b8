"""Files that appear whole or not at all, and what their readers refuse."""

from dataclasses import dataclass

import numpy as np
import pytest

from sensibert.config.grid import Cell
from sensibert.errors import ArtifactError
from sensibert.io import (
    array_file,
    claim_scratch,
    read_arrays,
    read_json,
    read_record,
    replacing,
    write_arrays,
    write_json,
    write_record,
)
from sensibert.results import Cost, CurvePoint, History, Result, Trial

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1, 0], dtype=np.uint8)}
COST = Cost(10, 20, 1.5, 30, 0.4, 40, 50, 60, 9, 4096)
RESULT = Result("sst2", "fisher", 0.4, 3, {"accuracy": 87.5}, "accuracy", 30, COST)
HISTORY = History(10, 20, 1, [CurvePoint(5.0, 1.0, 0.7, 1e-3)], 5, {"layers": [1, 0]}, 9)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def tmp_path(tmp_path):
    """Where the stages of an experiment write: there, messages say how to make a file again."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "new folder" / "result.txt"
    for content in ("first", "second"):
        with replacing(path) as beside:
            beside.write_text(content)
            assert path.exists() == (content == "second")
        assert path.read_text() == content
    assert names(path.parent) == ["result.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    for content in ("first", "second"):
        with replacing(path) as beside:
            beside.mkdir()
            (beside / content).touch()
        assert names(path) == [content]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_exception_the_old_one_is_whole_and_nothing_lies_beside(tmp_path, kind, error):
    path = tmp_path / "result"

    def write(place, content):
        if kind == "folder":
            place.mkdir()
            place = place / "part"
        place.write_text(content)

    write(path, "old")
    with pytest.raises(error), replacing(path) as beside:  # noqa: PT012
        write(beside, "half")
        raise error
    assert (path / "part" if kind == "folder" else path).read_text() == "old"
    assert names(tmp_path) == ["result"]


def test_what_an_earlier_kill_left_beside_is_removed(tmp_path):
    left = tmp_path / ".result.sensibert-part"
    left.mkdir()
    (left / "half").touch()
    with replacing(tmp_path / "result") as beside:
        beside.write_text("whole")
    assert names(tmp_path) == ["result"]


def test_json_comes_back_and_equal_content_gives_equal_bytes(tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    write_json(one, {"b": [1, 2.5, None], "a": {"y": "ü", "x": True}})
    write_json(other, {"a": {"x": True, "y": "ü"}, "b": [1, 2.5, None]})
    assert read_json(one) == {"a": {"x": True, "y": "ü"}, "b": [1, 2.5, None]}
    assert one.read_bytes() == other.read_bytes()


def test_json_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "result.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_a_scratch_folder_belongs_to_one_run(tmp_path):
    folder = tmp_path / "scratch"
    claim_scratch(folder, "one")
    (folder / "step-1").touch()
    claim_scratch(folder, "one")
    assert names(folder) == ["run.json", "step-1"]
    claim_scratch(folder, "other")
    assert names(folder) == ["run.json"]
    (folder / "step-1").touch()
    claim_scratch(folder, "other", resume=False)
    assert names(folder) == ["run.json"]


# Records


@pytest.mark.parametrize("record", [RESULT, HISTORY], ids=["result", "history"])
def test_a_record_comes_back(tmp_path, record):
    write_record(tmp_path / "record.json", record)
    found = read_record(tmp_path / "record.json", type(record))
    assert found == record
    assert type(found) is type(record)


def test_a_list_of_records_comes_back(tmp_path):
    trials = [Trial(0, 16, 1e-4, "complete", [80.0, 85.5]), Trial(1, 32, 1e-3, "pruned", [60.0])]
    write_json(tmp_path / "trials.json", [vars(trial) for trial in trials])
    assert read_record(tmp_path / "trials.json", list[Trial]) == trials


def test_a_result_knows_its_cell_and_its_primary_metric(tmp_path):
    write_record(tmp_path / "result.json", RESULT)
    found = read_record(tmp_path / "result.json", Result)
    assert found.cell == Cell("sst2", "fisher", 0.4, 3)
    assert found.primary == 87.5


def without(content, name):
    return {key: value for key, value in content.items() if key != name}


CONTENT = {
    "a missing field": (lambda content: without(content, "seed"), "seed: Field required"),
    "a missing field deep inside": (
        lambda content: content | {"cost": without(content["cost"], "macs")},
        "cost.macs: Field required",
    ),
    "a word for a number": (lambda content: content | {"budget": "much"}, "budget: Input should be a valid number"),
    "no number in a table": (
        lambda content: content | {"metrics": {"accuracy": None}},
        "metrics.accuracy: Input should be a valid number",
    ),
    "another structure": (lambda content: content | {"cost": [1, 2]}, "cost: Input should be a dictionary"),
    "a list": (lambda content: [content], "the whole content: Input should be a dictionary"),
    "nothing": (lambda content: None, "the whole content: Input should be a dictionary"),
}


@pytest.mark.parametrize("change", CONTENT)
def test_a_record_of_wrong_content_is_refused_by_file_and_field(tmp_path, change):
    path = tmp_path / "metrics.json"
    write_record(path, RESULT)
    edit, problem = CONTENT[change]
    write_json(path, edit(read_json(path)))
    with pytest.raises(ArtifactError) as caught:
        read_record(path, Result)
    message = str(caught.value)
    assert message.startswith(f"{path} is no record of the kind Result ({problem}")
    assert message.endswith("; delete it and run `dvc repro`")


def test_the_entry_of_a_list_that_is_wrong_is_named(tmp_path):
    write_json(tmp_path / "trials.json", [vars(Trial(0, 16, 1e-4, "complete", [80.0])), {"number": 1}])
    with pytest.raises(
        ArtifactError, match=r"trials\.json is no record of the kind list.*\(1\.batch_size: Field required"
    ):
        read_record(tmp_path / "trials.json", list[Trial])
    write_json(tmp_path / "trials.json", [vars(Trial(0, 16, 1e-4, "lost", [80.0]))])
    with pytest.raises(ArtifactError, match=r"\(0\.state: Input should be 'complete' or 'pruned'"):
        read_record(tmp_path / "trials.json", list[Trial])


@dataclass(frozen=True)
class Note:
    text: str


def test_a_field_that_the_record_does_not_have_is_refused(tmp_path):
    write_json(tmp_path / "note.json", {"text": "fine", "colour": "red"})
    with pytest.raises(ArtifactError, match=r"note\.json is no record of the kind Note \(colour: "):
        read_record(tmp_path / "note.json", Note)


# Arrays


def test_arrays_come_back(tmp_path):
    write_arrays(tmp_path / "arrays", ARRAYS, {"n": 1, "names": ["ü"]})
    arrays, metadata = read_arrays(tmp_path / "arrays")
    assert list(arrays) == ["a", "b"]
    assert metadata == {"n": 1, "names": ["ü"]}
    for name, values in ARRAYS.items():
        assert arrays[name].dtype == values.dtype
        assert np.array_equal(arrays[name], values)


def test_equal_arrays_give_equal_bytes(tmp_path):
    metadata = {"x": {"b": 1, "a": 2}, "y": 3}
    for number in range(10):  # an order that is drawn by chance would show
        turn = reversed if number % 2 else iter
        write_arrays(tmp_path / str(number), dict(turn(list(ARRAYS.items()))), dict(turn(list(metadata.items()))))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def read_array_file(path):
    with array_file(path):
        return read_arrays(path)


WRITERS = {
    "json": lambda path: write_json(path, {"a": [1, 2]}),
    "record": lambda path: write_record(path, RESULT),
    "arrays": lambda path: write_arrays(path, ARRAYS, {}),
}
READERS = {"json": read_json, "record": lambda path: read_record(path, Result), "arrays": read_array_file}


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_is_named(tmp_path, kind):
    with pytest.raises(ArtifactError, match=r"result\.bin is missing; run `dvc repro` to make it"):
        READERS[kind](tmp_path / "result.bin")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_file_is_named(tmp_path, kind, damage):
    path = tmp_path / "result.bin"
    WRITERS[kind](path)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "noise": b"\xff" * len(content)}[damage])
    with pytest.raises(ArtifactError, match=r"result\.bin is damaged .*; delete it and run `dvc repro`"):
        READERS[kind](path)


@pytest.mark.parametrize("header", [{"format": "pt"}, {"sensibert": "{"}, None], ids=["another", "broken", "none"])
def test_arrays_without_our_header_are_refused(tmp_path, header):
    from safetensors.numpy import save_file

    save_file(ARRAYS, tmp_path / "model", metadata=header)
    with pytest.raises(ArtifactError, match=r"model is damaged or of another kind .*; delete it"):
        read_array_file(tmp_path / "model")
