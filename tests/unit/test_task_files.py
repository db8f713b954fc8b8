import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from sensibert.config.settings import DataParams
from sensibert.data import tables, task_files
from sensibert.data.task_files import data_hash, load_task, save_task
from sensibert.data.tasks import TASKS
from sensibert.errors import ArtifactError
from sensibert.sources import public
from sensibert.sources.prepare import prepare


def local(directory, **settings):
    return DataParams(source="local", directory=directory, **settings)


@pytest.mark.parametrize("in_memory", [10, 100_000])
@pytest.mark.parametrize("task", ["sst2", "mrpc", "stsb"])
def test_saving_and_loading_give_the_same_data(glue_directory, tmp_path, monkeypatch, task, in_memory):
    whole, _ = prepare(TASKS[task], local(glue_directory))
    for module in (tables, task_files, public):
        monkeypatch.setattr(module, "IN_MEMORY", in_memory)
    dataset, audit = prepare(TASKS[task], local(glue_directory))
    assert {split: rows.to_dict() for split, rows in dataset.items()} == {
        split: rows.to_dict() for split, rows in whole.items()
    }, "in parts or as a whole"
    save_task(dataset, audit, tmp_path / "raw" / task)
    loaded = load_task(tmp_path / "raw" / task)
    assert set(loaded) == set(dataset)
    for split, rows in dataset.items():
        assert loaded[split].features == rows.features
        assert loaded[split].to_dict() == rows.to_dict()
        groups = pq.ParquetFile(tmp_path / "raw" / task / f"{split}.parquet").num_row_groups
        assert groups == -(-len(rows) // in_memory), "a group is read at once"
    assert json.loads((tmp_path / "raw" / task / "audit.json").read_text()) == audit.to_dict()


def test_equal_data_gives_equal_bytes_and_another_draw_another_hash(glue_directory, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        save_task(*prepare(TASKS["mrpc"], local(glue_directory, seed=seed)), tmp_path / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert set(files) == {"train.parquet", "dev.parquet", "validation.parquet", "audit.json"}
    assert data_hash(tmp_path / "one") == data_hash(tmp_path / "two") != data_hash(tmp_path / "three")


def test_the_pieces_that_rows_came_in_do_not_change_the_bytes(glue_directory, tmp_path):
    _, audit = prepare(TASKS["sst2"], local(glue_directory))
    table = pa.table({"text": [f"text {row} " * 10 for row in range(40_000)], "label": [0, 1] * 20_000})
    pieces = pa.concat_tables([table.slice(start, 7) for start in range(0, len(table), 7)])
    for name, rows in (("whole", table), ("pieces", pieces)):
        save_task(DatasetDict({"train": Dataset(rows)}), audit, tmp_path / name)
    assert data_hash(tmp_path / "whole") == data_hash(tmp_path / "pieces")


def test_saving_replaces_the_whole_folder_or_nothing(glue_directory, tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    dataset, audit = prepare(TASKS["sst2"], local(glue_directory))
    save_task(dataset, audit, folder)
    before = data_hash(folder)
    smaller, small_audit = prepare(TASKS["sst2"], local(glue_directory, max_train=10))

    def disk_is_full(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sensibert.data.task_files.write_json", disk_is_full)
        with pytest.raises(OSError, match="no space"):
            save_task(smaller, small_audit, folder)
    assert data_hash(folder) == before
    (folder / "stale.parquet").touch()
    save_task(smaller, small_audit, folder)
    assert len(load_task(folder)["train"]) == 10
    assert not (folder / "stale.parquet").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_missing_or_damaged_artifact_is_named(glue_directory, tmp_path):
    folder = tmp_path / "raw"
    with pytest.raises(ArtifactError, match=r"audit\.json is missing"):
        load_task(folder)
    with pytest.raises(ArtifactError, match="holds no parquet file"):
        data_hash(folder)
    save_task(*prepare(TASKS["sst2"], local(glue_directory)), folder)
    whole = (folder / "dev.parquet").read_bytes()
    (folder / "dev.parquet").write_bytes(whole[:200])
    with pytest.raises(ArtifactError, match=r"dev\.parquet is damaged"):
        load_task(folder)
    (folder / "dev.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"dev\.parquet is missing"):
        load_task(folder)
    (folder / "audit.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"audit\.json names no splits"):
        load_task(folder)
