"""The model card of a compressed model, and the same figures for the console."""

from __future__ import annotations

import math
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from tabulate import tabulate

from sensibert.config.settings import TrainingParams
from sensibert.io import replacing
from sensibert.report.alternatives import alternatives_table, verdict
from sensibert.report.before_after import before_after
from sensibert.report.evidence import Evidence
from sensibert.report.labels import TIMES, metric_label, metric_title, short_name
from sensibert.report.markdown import code
from sensibert.report.search import search_section, search_table

KEPT_PICTURE = "kept.svg"
"""In the folder of the evidence: what each module keeps."""
HEADER = ("", "before", "after", "")


def summary(evidence: Evidence) -> str:
    """Before and after, as a table for the console; with a warning below it if too much was lost."""
    parts = [search_table(evidence.search, "simple")] if evidence.search else []
    parts.append(tabulate(_rows(evidence), headers=HEADER, colalign=("left", "right", "right", "right")))
    if found := evidence.alternatives:
        metric = metric_label(evidence.task["primary_metric"])
        parts += [alternatives_table(found, metric), verdict(found, evidence.after.examples)]
    if warned := warning(evidence):
        parts.append(f"warning: {warned}")
    return "\n\n".join(parts)


def warning(evidence: Evidence) -> str | None:
    """What went wrong, and what to try against it; None if nothing did."""
    return " ".join(filter(None, (_nothing_learned(evidence), _lost(evidence)))) or None


def _nothing_learned(evidence: Evidence) -> str | None:
    """That the dense model is no better than one answer to every text, so that comparing with it says little."""
    metric, labels, dense = evidence.task["primary_metric"], evidence.task["labels"], evidence.before
    splits = evidence.data["splits"]
    counts: dict[str, int] = next(
        (split["labels"] for name, split in splits.items() if name not in ("train", "dev")), {}
    )
    if metric not in ("accuracy", "f1") or not dense.metrics or not labels or not counts:
        return None
    most = max(counts.values()) if metric == "accuracy" else counts.get(labels[1], 0)
    share = most / sum(counts.values())
    constant = 100 * (share if metric == "accuracy" else 2 * share / (1 + share))
    if dense.metrics[metric] > constant + 100 * math.sqrt(share * (1 - share) / dense.examples):
        return None
    learned = f"{metric_title(metric)} is {dense.metrics[metric]:.1f}"
    return (
        f"The dense model has learned next to nothing: its {learned}, and one and the same answer to every text has "
        f"{constant:.1f}. The comparison with it says little. Try more training rows or another backbone; --compare "
        "tells whether the words alone suffice."
    )


def _lost(evidence: Evidence) -> str | None:
    """What was lost beyond chance, and what to try against it."""
    drop, recipe = evidence.drop, evidence.recipe
    if drop is None or not drop.is_large:
        return None
    rows = evidence.data["splits"]["train"]["kept"]
    metric = metric_title(evidence.task["primary_metric"])
    advice = [f"a larger budget than {recipe['budget']:g}"] if recipe["budget"] < 1 else []
    if recipe["method"] == "one_shot":
        advice.append("the method `recipe`")
    advice += [f"longer training than {_epochs(evidence):.3g} epochs", f"more than {rows:,} training rows"]
    return (
        f"{metric} fell by {drop.points:.1f} points, which is more than chance: the 95 % interval is {drop.low:.1f} to "
        f"{drop.high:.1f} on {evidence.after.examples:,} held-out rows. Try {', '.join(advice[:-1])} or {advice[-1]}."
    )


def write_card(evidence: Evidence, folder: Path) -> None:
    """Write the model card README.md next to a saved model."""
    with replacing(folder / "README.md") as beside:
        ModelCard(_card(evidence)).save(beside)


def _chosen_by(evidence: Evidence) -> str:
    if evidence.recipe["any_origin"]:
        return "; the scores or the mask were made elsewhere and may have seen them"
    return " that nothing was chosen by"


def _epochs(evidence: Evidence) -> float:
    """Those over the training rows, which few rows get more of than the recipe says."""
    training = TrainingParams.model_validate(evidence.recipe["training"])
    return training.epochs_for(evidence.data["splits"]["train"]["kept"])


def _rows(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    return [(row.name, row.before, row.after, row.change) for row in before_after(evidence)]


def _card(evidence: Evidence) -> str:
    return f"---\n{_metadata(evidence).to_yaml()}\n---\n\n{_body(evidence)}"


def _metadata(evidence: Evidence) -> ModelCardData:
    recipe, task, origin = evidence.recipe, evidence.task, evidence.origin
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=origin.dataset or task["name"],
            dataset_name=task["name"],
            dataset_split="validation",
            metric_type=name,
            metric_value=round(value, 2),
        )
        for name, value in evidence.after.metrics.items()
    ]
    return ModelCardData(
        model_name=f"{short_name(recipe['model']['backbone'])}, {recipe['budget']}{TIMES} {recipe['budget_kind']}",
        base_model=origin.base_model and short_name(origin.base_model),
        license=origin.license,
        language=origin.languages or None,
        datasets=origin.dataset,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["sensibert", "pruning", "text-classification"],
        eval_results=results,
    )


def _body(evidence: Evidence) -> str:
    recipe, after, task = evidence.recipe, evidence.after, evidence.task
    table = tabulate(_rows(evidence), headers=HEADER, tablefmt="github", colalign=("left", "right", "right", "right"))
    labels = ", ".join(map(code, task["labels"])) or "a real number"
    backbone = code(short_name(recipe["model"]["backbone"]))
    hardware, versions = evidence.provenance["hardware"], evidence.provenance["packages"]
    processor = code(hardware["gpu"] or hardware["cpu"])
    return f"""# {backbone}, made smaller for {code(task["name"])}

{backbone} with {after.cost.prunable_kept:.1%} of its prunable parameters (those of the
attention and feed-forward dimensions), chosen by {code(recipe["criterion"])} and fine-tuned for
{_epochs(evidence):.3g} epochs. {HOW[recipe["method"]]}
The dropped dimensions are gone from the files: nothing is masked at run time.

{table}
{_warned(evidence)}
Metrics are on {after.examples:,} held-out rows{_chosen_by(evidence)}. Latency is the median forward pass in fp32
over texts of {after.cost.tokens} tokens on {processor} with {hardware["torch_threads"]}
threads; both models took turns.

![What each module keeps](evidence/{KEPT_PICTURE})

{_alternatives(evidence)}## Use it

It answers with {labels}.

```python
from transformers import pipeline

classify = pipeline("text-classification", "path/to/this/folder", trust_remote_code=True)
classify("some text")
```

`trust_remote_code=True` lets Transformers run `modeling_slim.py`, the one small module in this folder that gives each
layer its own size. After `import sensibert` it is not needed. `sensibert export` makes an ONNX file of it.

## How it was made

{search_section(evidence)}{_vocabulary(evidence)}{_rates(evidence)}`evidence/report.json` holds the
recipe, what became of the rows, the mask in all units, the software (torch {versions["torch"]}, transformers
{versions["transformers"]}, sensibert {versions["sensibert"]}) and the machine; beside it are the scores, the mask and
the prediction for each held-out row.

## Limits

It was judged on {after.examples:,} rows of one data set with one seed; test it on your own texts. It inherits the
limits, the biases and the licence of the model it was made from{_licence(evidence)}.
"""


def _warned(evidence: Evidence) -> str:
    found = warning(evidence)
    return f"\n> [!WARNING]\n> {found}\n" if found else ""


HOW = {
    "recipe": "It was cut from the fine-tuned dense model, repaired by least squares, and learned from\n"
    "that model's answers as well as from the labels.",
    "one_shot": "It was cut from the pre-trained model.",
}


def _licence(evidence: Evidence) -> str:
    origin = evidence.origin
    names = [origin.base_model and code(origin.base_model), origin.license and code(origin.license)]
    return f" ({', '.join(filter(None, names))})" if any(names) else ""


def _alternatives(evidence: Evidence) -> str:
    found = evidence.alternatives
    if not found:
        return ""
    table = alternatives_table(found, metric_label(evidence.task["primary_metric"]), tablefmt="github")
    return (
        f"## What else could be deployed\n\n{verdict(found, evidence.after.examples)}\n\n{table}\n\n"
        "Times are from text to answer on one thread, all models in turns; minutes are those of training, from the\n"
        "pre-trained weights on.\n\n"
    )


def _rates(evidence: Evidence) -> str:
    if not evidence.rates:
        return ""
    chosen = " and ".join(f"{rate.learning_rate:g} ({name})" for name, rate in evidence.rates.items())
    judges = max(rate.dev_examples for rate in evidence.rates.values())
    how = f", found by short trials that {judges:,} of the training\nrows judged" if judges else ""
    return f"The peak rate of fine-tuning was {chosen}{how}. "


def _vocabulary(evidence: Evidence) -> str:
    found = evidence.vocabulary
    if found is None:
        return ""
    return (
        f"The vocabulary was trimmed from {found['tokens_before']:,} to {found['tokens_after']:,} tokens: those that\n"
        "the training texts need, and pieces enough for any other text.\n\n"
    )
