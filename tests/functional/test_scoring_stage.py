import argparse
from pathlib import Path

from sensibert.config.params import load_params
from sensibert.config.paths import Paths
from sensibert.data.task_files import save_task
from sensibert.data.tasks import TASKS
from sensibert.sources.prepare import prepare

ROOT = Path(__file__).parents[2]


def test_the_scoring_stages_see_the_training_data_alone(glue_directory, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from pipeline.score import score

    params = load_params(ROOT / "profiles" / "tiny.yaml")
    data = params.data.model_copy(update={"directory": glue_directory})
    written = []
    for name in ("whole", "train only"):
        paths = Paths("tiny", tmp_path / name)
        dataset, audit = prepare(TASKS["sst2"], data)
        if name == "train only":
            for split in ("dev", "validation"):
                dataset[split] = dataset[split].select([])
        save_task(dataset, audit, paths.raw("sst2"))
        for repeated in (False, True):
            score(argparse.Namespace(task="sst2", seed=0, repeated=repeated), params, paths)
        written.append([paths.scores("sst2", 0).read_bytes(), paths.rescored("sst2", 0, 1).read_bytes()])
    assert written[0] == written[1]
