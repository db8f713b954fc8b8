import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from transformers import BertConfig, BertModel
from typer.testing import CliRunner

from sensibert.cli import app
from sensibert.compress import Recipe, compress_model
from sensibert.config.settings import ModelParams, ScoringParams, TrainingParams
from sensibert.deploy.answers import usual_length
from sensibert.io import read_json, read_record
from sensibert.models.backbones import load_model, load_tokenizer
from sensibert.models.cost import count
from sensibert.models.mask import Mask, read_mask, write_mask
from sensibert.report.card import summary, write_card
from sensibert.report.evidence import Drop, Evidence
from sensibert.results import History
from sensibert.scoring.files import read_scores, write_scores
from sensibert.sources.files import read_task

LABELS = {0: "bad", 1: "good"}


@pytest.fixture(scope="module")
def reviews(glue_data, tmp_path_factory):
    """The rows of the small sst2 under the column names of a user."""
    folder = tmp_path_factory.mktemp("reviews")
    for split in ("train", "validation"):
        rows = pd.read_parquet(glue_data / "sst2" / f"{split}.parquet")
        mine = pd.DataFrame({"review": rows["sentence"], "verdict": rows["label"].map(LABELS)})
        mine.to_csv(folder / f"{split}.csv", index=False)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def data_of(folder):
    return ["--train", folder / "train.csv", "--text", "review", "--label", "verdict"]


def compress(folder, out, *more):
    held_out = ["--validation", folder / "validation.csv"]
    shape = ["--model", "tiny-bert", "--batch-size", "8", "--epochs", "1", "--max-length", "32"]
    return run("compress", *data_of(folder), *held_out, *shape, "--out", out, *more)


@pytest.fixture(scope="module")
def compressed(reviews, tmp_path_factory):
    out = tmp_path_factory.mktemp("compressed") / "small"
    result = compress(reviews, out, "--budget", "0.4", "--trim-vocabulary")
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_command_leaves_a_model_a_card_and_the_evidence(compressed):
    out, _ = compressed
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names >= {
        "model.safetensors", "config.json", "tokenizer.json", "modeling_slim.py", "README.md", "report.html",
        "evidence/report.json", "evidence/scores.safetensors", "evidence/mask.safetensors",
        "evidence/predictions.parquet", "evidence/training.json",
    }  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["small"]  # no scratch folder


def test_it_says_what_was_before_and_after(compressed):
    _, output = compressed
    for line in ("Accuracy", "parameters", "MACs", "file size", "latency, batch 1", "latency, batch 32"):
        assert line in output


def test_the_evidence_agrees_with_the_model(compressed):
    out, _ = compressed
    report = read_json(out / "evidence" / "report.json")
    model = load_model(out)
    assert report["after"]["cost"]["total_parameters"] == count(model)
    assert report["after"]["cost"]["prunable_kept"] <= 0.4
    assert report["before"]["cost"]["prunable_kept"] == 1
    assert report["after"]["cost"]["model_bytes"] == (out / "model.safetensors").stat().st_size
    assert (
        report["vocabulary"]["tokens_after"] == len(load_tokenizer(str(out))) <= report["vocabulary"]["tokens_before"]
    )
    assert model.config.id2label == {0: "bad", 1: "good"}
    predictions = pd.read_parquet(out / "evidence" / "predictions.parquet")
    accuracy = 100 * (predictions["label"] == predictions["prediction"]).mean()
    assert report["after"]["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert report["data"]["splits"]["validation"]["kept"] == len(predictions)
    assert {"git", "packages", "hardware", "params", "data_hash"} <= report["provenance"].keys()


def test_the_model_card_names_the_metrics_for_the_hub(compressed):
    from huggingface_hub import ModelCard

    out, _ = compressed
    card = ModelCard.load(out / "README.md")
    report = read_json(out / "evidence" / "report.json")
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found["accuracy"] == pytest.approx(report["after"]["metrics"]["accuracy"], abs=0.01)
    assert (card.data.base_model, card.data.datasets) == (None, None)  # neither is on the hub
    assert str(out) not in card.content


def test_a_small_model_answers_through_the_command_line(compressed, reviews, tmp_path):
    out, _ = compressed
    arguments = ["--data", reviews / "validation.csv", "--text", "review", "--label", "verdict"]
    result = run("evaluate", out, *arguments, "--out", tmp_path / "metrics")  # cut as it was compressed
    assert load_tokenizer(str(out)).model_max_length == 32
    assert result.exit_code == 0, result.output
    expected = read_json(out / "evidence" / "report.json")["after"]["metrics"]
    found = read_json(tmp_path / "metrics" / "metrics.json")
    assert found.pop("rows") == 30
    assert found == pytest.approx(expected)
    assert len(pd.read_parquet(tmp_path / "metrics" / "predictions.parquet")) == 30


def test_one_scoring_serves_every_budget(compressed, tmp_path):
    out, _ = compressed
    scores = out / "evidence" / "scores.safetensors"
    for kind in ("params", "macs"):
        mask = tmp_path / f"{kind}.safetensors"
        result = run("mask", scores, "--budget", "0.6", "--budget-kind", kind, "--out", mask)
        assert result.exit_code == 0, result.output
        predicted = read_mask(mask).origin.predicted
        assert predicted["params"]["slim"] < predicted["params"]["dense"]
        assert predicted["macs"]["slim"] < predicted["macs"]["dense"]
    assert read_scores(scores).origin.made_for.backbone == "tiny-bert"


def test_the_steps_alone_give_the_same_model(compressed, reviews, tmp_path):
    out, _ = compressed
    scores, mask = tmp_path / "scores.safetensors", tmp_path / "mask.safetensors"
    settings = ["--model", "tiny-bert", "--batch-size", "8", "--max-length", "32"]
    split = ["--validation", reviews / "validation.csv"]
    assert run("score", *data_of(reviews), *split, *settings, "--out", scores).exit_code == 0
    assert run("mask", scores, "--budget", "0.4", "--out", mask).exit_code == 0
    expected, found = read_mask(out / "evidence" / "mask.safetensors"), read_mask(mask)
    assert all(np.array_equal(found.keep[key], keep) for key, keep in expected.keep.items())


def test_a_killed_run_goes_on_where_it_was(reviews, tmp_path, monkeypatch):
    from sensibert.compress import made

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(made, "compare_latency", killed)
        assert compress(reviews, tmp_path / "small", "--baseline", "none").exit_code != 0
    assert not (tmp_path / "small").exists()
    result = compress(reviews, tmp_path / "small", "--baseline", "none")
    assert result.exit_code == 0, result.output
    assert "score:" not in result.output
    assert "fine-tune:" not in result.output
    report = read_json(tmp_path / "small" / "evidence" / "report.json")
    assert report["before"]["metrics"] == {}


def test_the_dense_model_is_kept_on_request_and_backbones_are_timed_beside_it(many, tmp_path):
    training = TrainingParams(epochs=0.1, batch_size=8, precision="fp32", min_steps=0)
    recipe = Recipe(
        model=ModelParams(backbone="tiny-bert", max_length=64),
        budget=0.4,
        training=training,
        learning_rate=1e-3,
        keep_dense=True,
    )
    evidence = compress_model(*many, recipe, tmp_path / "small", say=lambda _: None)
    dense = tmp_path / "small" / "dense"
    assert count(load_model(dense)) == evidence.before.cost.total_parameters > evidence.after.cost.total_parameters
    assert not (dense / "training.json").exists()
    assert usual_length(dense, load_tokenizer(str(dense)).model_max_length) == 64
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
    BertModel(BertConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path / "headless")
    names = [str(tmp_path / "small"), str(dense), "tiny-bert", str(tmp_path / "headless")]
    result = run("bench", *names, "--repeats", "1", "--batch-size", "1", "--length", "8")
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in names)


def test_models_take_turns_in_a_bench(compressed, tmp_path):
    out, _ = compressed
    figures = tmp_path / "bench.json"
    result = run("bench", out, out, "--batch-size", "1", "--length", "8", "--repeats", "2", "--out", figures)
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text())
    assert [entry["model"] for entry in found["latency"]] == [str(out), str(out)]
    assert all(entry["seconds"] > 0 for entry in found["latency"])
    assert found["hardware"]["cores"] >= 1


def test_what_a_killed_run_with_other_scores_left_is_thrown_away(compressed, reviews, tmp_path, monkeypatch):
    from sensibert.compress import made

    def killed(*_, **__):
        raise KeyboardInterrupt

    right = compressed[0] / "evidence" / "scores.safetensors"
    scores = read_scores(right)
    turned = {key: values[..., ::-1].copy() for key, values in scores.of("sensitivity").items()}
    write_scores(tmp_path / "turned.safetensors", replace(scores, scores={"sensitivity": turned}))
    out = tmp_path / "small"
    with monkeypatch.context() as patch:
        patch.setattr(made, "compare_latency", killed)
        assert compress(reviews, out, "--baseline", "none", "--scores", tmp_path / "turned.safetensors").exit_code != 0
    result = compress(reviews, out, "--baseline", "none", "--scores", right)
    assert result.exit_code == 0, result.output
    assert "fine-tune: the slim model" in result.output


# What the training took


@pytest.fixture(scope="module")
def compress_with(reviews, tmp_path_factory):
    """Compress from Python; gives the evidence and the folder."""
    train, validation = (str(reviews / f"{split}.csv") for split in ("train", "validation"))
    data = read_task(train, validation, text="review", label="verdict", max_train=40)

    def run_with(max_samples=None, **given):
        recipe = Recipe(
            model=ModelParams(backbone=given.pop("backbone", "tiny-bert"), max_length=32),
            any_origin=True,
            budget=0.4,
            scoring=ScoringParams(batch_size=8, max_samples=max_samples),
            training=TrainingParams(epochs=0.2, batch_size=8, precision="fp32", min_steps=0),
            baseline=given.pop("baseline", "none"),
            method=given.pop("method", "one_shot"),
        )
        out = tmp_path_factory.mktemp("evidence") / "small"
        return compress_model(*data, recipe, out, say=lambda _: None, **given), out

    return run_with


def test_a_sample_of_the_texts_is_a_part_of_a_pass_and_the_dense_model_takes_none(compress_with):
    evidence, out = compress_with(max_samples=10, baseline="tune")
    assert evidence.after.cost.extra_passes == 10 / 40
    assert evidence.before.cost.extra_passes == 0
    assert evidence.mask["scoring_passes"] == 10 / 40
    assert read_scores(out / "evidence" / "scores.safetensors").origin.passes == 10 / 40
    assert read_record(out / "evidence" / "training.json", History).extra_passes == 10 / 40
    assert read_record(out / "evidence" / "report.json", Evidence) == evidence


@pytest.mark.parametrize("baseline", ["tune", "none"])
def test_the_recipe_cuts_the_dense_model_whether_or_not_it_is_compared_with(baseline, compress_with):
    evidence, _ = compress_with(baseline=baseline, method="recipe")
    assert evidence.after.cost.extra_passes == 1 + 0.2
    assert bool(evidence.before.metrics) == (baseline == "tune")
    assert evidence.before.cost.prunable_kept == 1
    assert evidence.recipe["method"] == "recipe"


def test_the_recipe_starts_from_a_model_that_was_given(compressed, compress_with):
    evidence, _ = compress_with(baseline="auto", method="recipe", backbone=str(compressed[0]))
    assert evidence.after.cost.extra_passes == 1, "the model was not tuned again"


def test_scores_or_a_mask_from_elsewhere_take_no_pass(compressed, compress_with):
    folder = compressed[0] / "evidence"
    report = read_json(folder / "report.json")
    # A pass to score, and one to tune the dense model that the recipe cuts.
    assert (report["before"]["cost"]["extra_passes"], report["after"]["cost"]["extra_passes"]) == (0, 2)
    scores, mask = read_scores(folder / "scores.safetensors"), read_mask(folder / "mask.safetensors")
    assert mask.origin.scoring_passes == 1
    for given in ({"scores": scores}, {"mask": mask}):
        evidence, out = compress_with(**given)
        assert evidence.after.cost.extra_passes == evidence.before.cost.extra_passes == 0
        assert read_record(out / "evidence" / "training.json", History).extra_passes == 0
        # The mask itself still tells what its scores took.
        assert read_mask(out / "evidence" / "mask.safetensors").origin.scoring_passes == 1
        assert (out / "evidence" / "scores.safetensors").exists() == ("scores" in given)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough rows for trials of rates."""
    words = ["plot", "actor", "scene", "story", "music"]
    rows = [
        {"review": f"a {('dull', 'warm')[row % 2]} {words[row % 5]} number {row}", "verdict": LABELS[row % 2]}
        for row in range(260)
    ]
    folder = tmp_path_factory.mktemp("many")
    pd.DataFrame(rows[:220]).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(rows[220:]).to_csv(folder / "validation.csv", index=False)
    return read_task(str(folder / "train.csv"), str(folder / "validation.csv"), text="review", label="verdict")


@pytest.mark.parametrize("method", ["recipe", "one_shot"])
def test_the_rates_are_found_on_training_rows_that_no_trial_trains_on(method, many, tmp_path, monkeypatch):
    from sensibert.compress import job
    from sensibert.training import cell

    trained, judged = [], []
    fine_tune, judge = cell.fine_tune, job.judge

    def watched_training(model, examples, *given, **how):
        trained.append(({example["idx"] for example in examples}, how["options"].rate))
        return fine_tune(model, examples, *given, **how)

    def watched_judge(model, examples, *given):
        judged.append({example["idx"] for example in examples})
        return judge(model, examples, *given)

    monkeypatch.setattr(cell, "fine_tune", watched_training)
    monkeypatch.setattr(job, "judge", watched_judge)
    training = TrainingParams(epochs=0.2, batch_size=8, precision="fp32", min_steps=0)
    recipe = Recipe(model=ModelParams(backbone="tiny-bert"), budget=0.4, training=training, method=method)
    evidence = compress_model(*many, recipe, tmp_path / "small", say=lambda _: None)

    everything = set(many[1]["train"]["idx"])
    assert len(trained) == len(judged) + 2
    assert [rows for rows, _ in trained].count(everything) == 2, "the dense and the slim model"
    for rows in judged:
        assert len(rows) == 44
        assert rows < everything, "no held-out row"
    for rows, _ in trained:
        assert rows == everything or rows == everything - judged[0]
    assert evidence.rates.keys() == {"dense", "slim"}
    for chosen in evidence.rates.values():
        assert len(chosen.tried) >= 3
        assert chosen.dev_examples == 44
        assert chosen.steps == 6
    rates = [rate for rows, rate in trained if rows == everything]
    assert rates == [evidence.rates["dense"].learning_rate, evidence.rates["slim"].learning_rate]


def test_a_rate_that_is_given_is_taken(many, tmp_path):
    training = TrainingParams(epochs=0.2, batch_size=8, precision="fp32", min_steps=0)
    recipe = Recipe(model=ModelParams(backbone="tiny-bert"), budget=0.4, training=training, learning_rate=3e-4)
    evidence = compress_model(*many, recipe, tmp_path / "small", say=lambda _: None)
    assert {(chosen.learning_rate, len(chosen.tried)) for chosen in evidence.rates.values()} == {(3e-4, 0)}


def test_a_drop_beyond_chance_is_said_and_written_in_the_card(compressed, tmp_path):
    evidence = read_record(compressed[0] / "evidence" / "report.json", Evidence)
    assert "warning" not in summary(replace(evidence, drop=Drop(2.0, -0.5, 4.5)))
    large = replace(evidence, drop=Drop(28.3, 20.0, 35.0))
    said = (
        "Accuracy fell by 28.3 points, which is more than chance: the 95 % interval is 20.0 to 35.0 on 30 held-out "
        "rows. Try a larger budget than 0.4, longer training than 1 epochs or more than 80 training rows."
    )
    assert f"warning: {said}" in summary(large)
    write_card(large, tmp_path)
    assert f"> [!WARNING]\n> {said}" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "text"], "has no column 'text'; it has 'review', 'verdict'"),
        (["--budget", "1.5"], "budget"),
        (["--criterion", "luck"], "unknown criterion 'luck'; allowed: "),
        (["--budget-kind", "money"], "budget_kind"),
        (["--precision", "fp8"], "training.precision"),
        (["--model", "nowhere/else"], "nowhere/else"),
        (["--budget", "0.0001"], "budget 0.0001 is too small"),
    ],
)
def test_mistakes_get_a_message_and_leave_nothing(arguments, message, reviews, tmp_path):
    result = compress(reviews, tmp_path / "small", *arguments)
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert message in result.output
    assert not (tmp_path / "small").exists()


def test_a_mask_of_another_model_is_refused(compressed, reviews, tmp_path):
    out, _ = compressed
    mask = read_mask(out / "evidence" / "mask.safetensors")
    first = next(iter(mask.keep))
    write_mask(tmp_path / "other.safetensors", Mask({first: mask.keep[first]}, {first: mask.costs[first]}))
    result = compress(reviews, tmp_path / "small", "--mask", tmp_path / "other.safetensors")
    assert result.exit_code == 1
    assert "the mask does not fit the model" in result.output


def test_a_result_is_not_overwritten_unless_asked(compressed, reviews):
    out, _ = compressed
    result = compress(reviews, out)
    assert result.exit_code == 1
    assert "is already there; --overwrite replaces it" in result.output
