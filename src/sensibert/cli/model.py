"""Commands for your own model and data: each step of the flow alone, and all of them in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sensibert.cli.app import SeveralValues, app
from sensibert.config.defaults import SCORED_TEXTS
from sensibert.errors import MaskError, ParamsError, PlaceError
from sensibert.io import mark, marked
from sensibert.places import check_output, making, mark_of

if TYPE_CHECKING:
    from datasets import DatasetDict

    from sensibert.data.task_files import Audit
    from sensibert.data.tasks import Task
    from sensibert.deploy.bench import Candidate
    from sensibert.deploy.fidelity import Fidelity

_USUAL_BUDGET = 0.4
_PIECE = 1024
"""Rows that are read, answered and written at once."""
_MOST_ROWS, _LONGEST, _LARGEST_BATCH = 10**12, 1_000_000, 1_000_000
"""Far more than any machine has room for, and small enough for the number formats of the libraries."""


def _not_empty(name: Any) -> Any:
    """Refuse an option that is there without a name, such as one from an empty variable of a shell."""
    if name is not None and name in ("", Path()):
        raise typer.BadParameter("it is empty; name a file, a folder, or a data set or model on the hub")
    return name


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME_OR_DIR",
        callback=_not_empty,
        help="A local directory, a hub id, or minilm-l6 (embedded).",
    ),
]
TrainFile = Annotated[
    str,
    typer.Option(
        "--train",
        metavar="DATA",
        callback=_not_empty,
        help="Training data: .csv, .tsv, .jsonl or .parquet, or a hub data set.",
    ),
]
ValidationFile = Annotated[
    str | None,
    typer.Option(
        "--validation",
        metavar="DATA",
        callback=_not_empty,
        help="Held-out data; without it a fifth of the training data.",
    ),
]
TextColumn = Annotated[str, typer.Option("--text", metavar="COLUMN", help="The column of the texts.")]
TextPairColumn = Annotated[
    str | None, typer.Option("--text-pair", metavar="COLUMN", help="The column of the second texts, for pairs.")
]
LabelColumn = Annotated[str, typer.Option("--label", metavar="COLUMN", help="The column of the labels.")]
Regression = Annotated[
    bool | None,
    typer.Option("--regression/--classes", help="What the labels are; without it, fractions are real numbers."),
]
MaxTrain = Annotated[
    int | None, typer.Option("--max-train", min=1, max=_MOST_ROWS, help="Training rows to use (stratified).")
]
MaxLength = Annotated[
    int, typer.Option("--max-length", min=8, max=_LONGEST, help="Longer texts are cut at this number of tokens.")
]
LengthOfModel = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=8,
        max=_LONGEST,
        help="Longer texts are cut at this number of tokens; without it as the model was compressed, else at 128.",
    ),
]
Pooled = Annotated[
    str,
    typer.Option(
        "--pooling",
        metavar="auto|pooler|cls|mean",
        help="What a new classifier sees of a text: the stock head, the first token, or the mean over the tokens; auto "
        "takes what the backbone was trained for.",
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the classifier, the data order and dropout.")
]
Precision = Annotated[str, typer.Option("--precision", metavar="auto|fp32|bf16", help="Number format of training.")]
Criterion = Annotated[
    str,
    typer.Option("--criterion", help="What ranks the dimensions, such as sensitivity; a wrong name lists all."),
]
Budget = Annotated[float, typer.Option("--budget", help="The part to keep, above 0 and at most 1.")]
BudgetKind = Annotated[
    str,
    typer.Option(
        "--budget-kind",
        metavar="params|macs|size|latency",
        help="What the budget is a part of: prunable parameters, prunable multiply-accumulates at the mean length, "
        "bytes of the weights, or the latency of one text on this machine.",
    ),
]
RoundTo = Annotated[int, typer.Option("--round-to", min=1, max=_LONGEST, help="Kept sizes are multiples of this.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=_LARGEST_BATCH, help="Texts at a time.")]
ScoreTexts = Annotated[
    int,
    typer.Option("--score-texts", min=0, metavar="N", help="Training texts that the scoring pass sees; 0 takes all."),
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A model that `sensibert compress` or `save_pretrained` wrote.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier result; nothing that sensibert did not make.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let code run that the model's folder or hub page brings.")
]


@app.command(cls=SeveralValues)
def compress(
    context: typer.Context,
    model: ModelName,
    train: TrainFile,
    text: TextColumn,
    label: LabelColumn,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the result.")],
    budget: Annotated[
        list[float] | None,
        typer.Option(
            "--budget",
            metavar="PART...",
            help="The part to keep, above 0 and at most 1; without it 0.4. Several make a model each, below DIR.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Find the smallest model that loses at most so many points of the metric against the dense one, with "
            "a confidence of 95 %, on training rows that are held back.",
        ),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option("--max-latency", metavar="TIME", help="... that takes at most so long for a text, such as 5ms."),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="SIZE", help="... whose file is at most so large, such as 20MB.")
    ] = None,
    deploy_as: Annotated[
        str,
        typer.Option(
            "--deploy-as",
            metavar="onnx-int8|onnx|torch",
            help="The file that the limits are about; an export within them is left in DIR/onnx.",
        ),
    ] = "onnx-int8",
    validation: ValidationFile = None,
    text_pair: TextPairColumn = None,
    budget_kind: BudgetKind = "params",
    criterion: Criterion = "sensitivity",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="recipe|one_shot",
            help="recipe cuts the tuned dense model, repairs the cut and learns from that model; one_shot cuts the "
            "pre-trained model and fine-tunes it, as Sensi-BERT does.",
        ),
    ] = "recipe",
    trim_vocabulary: Annotated[
        bool, typer.Option("--trim-vocabulary", help="Keep only the tokens that the training texts need.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Measure what else could be deployed (words, embeddings, first layers, ONNX, INT8), and say what to "
            "deploy.",
        ),
    ] = False,
    keep_dense: Annotated[
        bool, typer.Option("--keep-dense", help="Leave the dense model that was tuned in DIR/dense too.")
    ] = False,
    epochs: Annotated[
        float | None,
        typer.Option("--epochs", help="Of fine-tuning; without it 3, and more on few rows: 300 steps at least."),
    ] = None,
    batch_size: BatchSize = 32,
    learning_rate: Annotated[
        str,
        typer.Option(
            "--learning-rate",
            metavar="searched|RATE",
            help="Peak rate of fine-tuning; searched finds one by short trials on a part of the training rows.",
        ),
    ] = "searched",
    max_length: MaxLength = 128,
    max_train: MaxTrain = None,
    score_texts: ScoreTexts = SCORED_TEXTS,
    pooling: Pooled = "auto",
    regression: Regression = None,
    precision: Precision = "auto",
    round_to: RoundTo = 1,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            metavar="auto|tune|given|none",
            help="What the result is compared with: the dense model fine-tuned on the same data (tune), or as it was "
            "given; auto takes it as given where it already classifies these labels.",
        ),
    ] = "auto",
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", metavar="FILE", callback=_not_empty, help="Scores of this model and data: no scoring pass."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", callback=_not_empty, help="A mask for this model, instead of a budget."),
    ] = None,
    any_origin: Annotated[
        bool, typer.Option("--any-origin", help="Take scores or a mask that another model or task was scored for.")
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Make a model smaller: score, mask, slim, fine-tune, evaluate.

    Leaves in DIR the small model with its tokenizer, a model card, and the evidence (scores, mask, predictions,
    report). A run that was killed resumes where it was when the same command is given again.

    \b
    sensibert compress --model minilm-l6 --train reviews.csv --text review --label sentiment --budget 0.4 --out small
    sensibert compress ... --budget 0.6 0.4 0.2 --out several
    sensibert compress ... --max-drop 1 --max-latency 5ms --out small
    """  # noqa: D301 (a real backspace: it keeps the line)
    # A result of this command may be that of this very run, which was killed after its last step.
    own = mark_of(out, "compress") is not None
    inputs, command = _given(model, train, validation, scores, mask), "compress" if overwrite else None
    _claim(context, out, overwrite=overwrite or own, inputs=inputs, command=command)
    if mask is not None:
        _refuse_beside_mask(context)
    from sensibert import compress as flow
    from sensibert.config.section import validate
    from sensibert.models.mask import read_mask
    from sensibert.report.card import summary
    from sensibert.report.overview import PICTURE, overview
    from sensibert.scoring.files import read_scores

    content = {
        "model": {"backbone": model, "max_length": max_length, "pooling": pooling},
        "budget": max(budget or [_USUAL_BUDGET]),
        "budget_kind": budget_kind,
        "criterion": criterion,
        "method": method,
        "scoring": {"batch_size": batch_size, "max_samples": score_texts or None},
        "ranking": {"round_to": round_to},
        "training": {"batch_size": batch_size, "precision": precision} | _epochs(epochs),
        "learning_rate": learning_rate,
        "baseline": baseline,
        "trim_vocabulary": trim_vocabulary,
        "keep_dense": keep_dense,
        "compare": compare,
        "seed": seed,
        "any_origin": any_origin,
        "trust_remote_code": trust_remote_code,
    }
    recipe = validate(flow.Recipe, content, "compress")
    budgets = [validate(flow.Recipe, content | {"budget": one}, "compress").budget for one in budget or []]
    budgets = sorted(set(budgets), reverse=True)
    wished = {"max_drop": max_drop, "max_latency": max_latency, "max_size": max_size, "deploy_as": deploy_as}
    limits = validate(flow.Limits, wished, "compress")
    given_scores = read_scores(scores) if scores else None
    given_mask = read_mask(mask) if mask else None
    task, dataset, audit = _read(train, validation, text, label, text_pair, regression, max_train, seed)
    run = flow.run_of(recipe, dataset, given_scores, given_mask, **flow.wishes(budgets, limits))
    done = not overwrite and flow.is_finished(out, run)
    if done:
        typer.echo("already done with this data and these settings; --overwrite makes it anew")
    check_output(out, overwrite=overwrite or done)
    given: dict[str, Any] = {"scores": given_scores, "say": typer.echo}
    if not done and limits.are_there:
        flow.compress_within(task, dataset, audit, recipe, limits, out, budgets=budgets or flow.BUDGETS, **given)
    elif not done and len(budgets) > 1:
        flow.compress_to_each(task, dataset, audit, recipe, budgets, out, **given)
    elif not done:
        flow.compress_model(task, dataset, audit, recipe, out, mask=given_mask, **given)
    several = [flow.evidence_of(out / flow.folder_name(one)) for one in budgets] if (out / PICTURE).exists() else []
    said = overview(several) if several else summary(flow.evidence_of(out))
    what = "models, their cards" if several else "model, its card"
    typer.echo(f"\n{said}\n\nThe {what} and the evidence are in {out}")


@app.command("score")
def score_command(
    context: typer.Context,
    model: ModelName,
    train: TrainFile,
    text: TextColumn,
    label: LabelColumn,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The score file (.safetensors).")],
    validation: ValidationFile = None,
    text_pair: TextPairColumn = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, max=10_000, help="Passes over the training data.")] = 1,
    batch_size: BatchSize = 32,
    max_length: MaxLength = 128,
    max_train: MaxTrain = None,
    score_texts: ScoreTexts = SCORED_TEXTS,
    pooling: Pooled = "auto",
    regression: Regression = None,
    precision: Precision = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Score every dimension of a model in one pass over training data.

    The file holds the scores of every criterion and all that a budget needs: `sensibert mask` cuts it at any budget
    without another pass. Held-out rows are never scored: pass the same data as to `sensibert compress`.
    """
    _claim(context, out, overwrite=overwrite, inputs=_given(model, train, validation))
    from sensibert.compress.recipe import scoring_of
    from sensibert.config.section import validate
    from sensibert.config.settings import ModelParams, ScoringParams, TrainingParams
    from sensibert.models.subject import Subject
    from sensibert.scoring.files import write_scores
    from sensibert.scoring.scoring_pass import score_subject

    backbone = validate(ModelParams, {"backbone": model, "max_length": max_length, "pooling": pooling}, "score")
    content = {"epochs": epochs, "batch_size": batch_size, "max_samples": score_texts or None}
    settings = validate(ScoringParams, content, "score")
    number_format = validate(TrainingParams, {"precision": precision}, "score").precision
    task, dataset, _ = _read(train, validation, text, label, text_pair, regression, max_train, seed)
    subject = Subject(task, dataset, backbone, trust_remote_code)
    settings = scoring_of(settings, len(subject.train))
    *_, scores = score_subject(subject, settings, seed=seed, precision=number_format)
    write_scores(out, scores)
    typer.echo(f"the scores of {', '.join(scores.scores)} are in {out}")


@app.command()
def mask(
    context: typer.Context,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A score file.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The mask (.safetensors).")],
    budget: Budget = 0.4,
    budget_kind: BudgetKind = "params",
    criterion: Criterion = "sensitivity",
    round_to: RoundTo = 1,
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Cut a score file at a budget: which dimensions stay.

    Instant, apart from --budget-kind latency, which first measures the modules of the model on this machine.
    `sensibert compress --mask FILE` uses the mask.
    """
    _claim(context, out, overwrite=overwrite, inputs=[scores])
    from sensibert.config.section import validate
    from sensibert.config.settings import RankingParams
    from sensibert.models.mask import write_mask
    from sensibert.scoring.budgets import mask_for
    from sensibert.scoring.files import read_scores

    content = read_scores(scores)
    options = validate(RankingParams, {"round_to": round_to}, "mask").options(criterion)
    table = None
    if budget_kind == "latency":
        from sensibert.data.tasks import TASKS
        from sensibert.deploy.latency import measure_table
        from sensibert.models.anatomy import hash_weights
        from sensibert.models.backbones import load_backbone

        # Any classifier: it is only timed. The name of the backbone comes from the file.
        made_for, seed = content.origin.made_for, content.origin.seed
        model = load_backbone(made_for.backbone, TASKS["sst2"], seed, trust_remote_code=trust_remote_code)
        if hash_weights(model) != made_for.weights:
            raise MaskError(f"{scores}: {made_for.backbone!r} is not the model that was scored: its weights differ")
        table = measure_table(model, batch_size=1, tokens=content.origin.tokens, round_to=round_to)
    made = mask_for(content, criterion, budget, budget_kind, latency=table, **options)
    write_mask(out, made)
    assert made.origin is not None
    for kind, predicted in made.origin.predicted.items():
        typer.echo(f"{kind:8} {predicted['slim']:14,.6g} of {predicted['dense']:14,.6g}  ({_part(predicted)})")
    typer.echo(f"the mask is in {out}")


@app.command()
def evaluate(
    context: typer.Context,
    folder: Folder,
    data: Annotated[
        str,
        typer.Option("--data", metavar="DATA", callback=_not_empty, help="Labelled data: a file or a hub data set."),
    ],
    text: TextColumn,
    label: LabelColumn,
    text_pair: TextPairColumn = None,
    max_length: LengthOfModel = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for metrics.json and predictions.parquet.")
    ] = None,
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Metrics of a saved model on labelled data."""
    if out is not None:
        _claim(context, out, overwrite=overwrite, inputs=_given(folder, data))
    from sensibert.compute.hardware import best_device
    from sensibert.data.encoding import encode
    from sensibert.deploy.answers import usual_length
    from sensibert.evaluation.evaluate import evaluate
    from sensibert.io import replacing, write_json
    from sensibert.models.backbones import check_length, class_names, load_model, load_tokenizer
    from sensibert.sources.files import read_labelled

    model = load_model(folder, trust_remote_code=trust_remote_code).to(best_device())  # type: ignore[arg-type]
    tokenizer = load_tokenizer(str(folder), trust_remote_code=trust_remote_code)
    length = max_length or usual_length(folder, tokenizer.model_max_length)
    check_length(model.config, length)
    columns: dict[str, Any] = {"text": text, "label": label, "text_pair": text_pair}
    task, rows, dropped = read_labelled(data, **columns, classes=class_names(folder))
    found = evaluate(model, {"validation": encode(rows, tokenizer, length)}, tokenizer, task)
    typer.echo(f"{'rows':20} {len(rows):,}")
    _say_dropped(dropped)
    for name, value in found.metrics.items():
        typer.echo(f"{name:20} {value:.2f}")
    if out is not None:
        with replacing(out) as beside:
            beside.mkdir()
            write_json(beside / "metrics.json", {"rows": len(rows), **found.metrics})
            found.predictions.to_parquet(beside / "predictions.parquet", index=False)
            mark(beside, "evaluate")


@app.command()
def predict(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A saved model, or an export.")],
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="Texts: .csv, .tsv, .jsonl (also .gz), .parquet or .txt; - is stdin.")
    ],
    text: TextColumn = "text",
    text_pair: TextPairColumn = None,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="The rows with their answers; without it they go to stdout.")
    ] = "-",
    read_as: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help="csv, tsv, jsonl, parquet or txt (a text in each line)."),
    ] = None,
    write_as: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help="The same; without it that of the name or the input.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Take the quantized file of an export.")] = False,
    batch_size: BatchSize = 32,
    max_length: LengthOfModel = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Answer the texts of a file: its columns, and the label with its probability, or the score.

    Rows are read, answered and written piece by piece, so the file may be larger than memory.

    \b
    sensibert predict small reviews.csv --text review --out answers.csv
    cat texts.txt | sensibert predict small-onnx - --int8 > answers.jsonl
    """  # noqa: D301 (a real backspace: it keeps the line)
    from tqdm.auto import tqdm

    from sensibert.deploy import rows
    from sensibert.deploy.answers import answer_rows, load_answerer

    kind = rows.format_of(data, read_as, "--from")
    same = "jsonl" if kind == "txt" or (kind == "parquet" and out == rows.STDIN) else kind
    to = rows.format_of(out, write_as or (same if out == rows.STDIN else None), "--to")
    if to == "txt":
        raise ParamsError("--to txt: such a file has no room for the answers; allowed: csv, tsv, jsonl, parquet")
    if out != rows.STDIN:
        if Path(out).exists():
            raise PlaceError(f"--out {out} is already there; name another file")
        _claim(context, Path(out), overwrite=False, inputs=_given(folder, data))
    how: dict[str, Any] = {"max_length": max_length, "batch_size": batch_size, "trust_remote_code": trust_remote_code}
    answerer = load_answerer(folder, int8=int8, **how)
    silent = 0
    with rows.writing_rows(out, to, rows.types_of(data, kind)) as write, tqdm(unit="row", mininterval=1) as progress:
        for answered, without in answer_rows(rows.read_rows(data, kind, _PIECE), answerer, text, text_pair):
            write(answered)
            progress.update(len(answered))
            silent += without
    if silent:
        typer.echo(f"data: {silent:,} rows have no text, and so no answer", err=True)


@app.command()
def bench(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Saved models, exports or backbones; ratios are to the first."),
    ],
    batch_sizes: Annotated[
        list[int], typer.Option("--batch-size", min=1, max=_LARGEST_BATCH, help="May be given again.")
    ] = [1, 32],  # noqa: B006 (typer's way)
    lengths: Annotated[
        list[int], typer.Option("--length", min=1, max=_LONGEST, help="Tokens per text; may be given again.")
    ] = [32],  # noqa: B006
    threads: Annotated[int | None, typer.Option("--threads", min=1, max=4096, help="All cores without it.")] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=1_000_000, help="Timed passes of each.")] = 30,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The figures as JSON.")] = None,
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Compare how fast models answer: they take turns in one run, in fp32 unless INT8."""
    if out is not None:
        _claim(context, out, overwrite=overwrite, inputs=_given(*models))
    from dataclasses import asdict

    import torch

    from sensibert.compute.host import hardware
    from sensibert.deploy.bench import compare_latency
    from sensibert.experiment.provenance import package_versions
    from sensibert.io import write_json
    from sensibert.report.latency import latency_table

    if threads:
        torch.set_num_threads(threads)
    candidates = [candidate for model in models for candidate in _candidates(model, threads, trust_remote_code)]
    found = compare_latency(candidates, batch_sizes, lengths, repeats)
    typer.echo(latency_table(found))
    if out is not None:
        about = {"hardware": hardware(), "packages": package_versions(), "repeats": repeats}
        write_json(out, marked({**about, "latency": [asdict(entry) for entry in found]}, "bench"))


@app.command()
def export(
    context: typer.Context,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the export.")],
    to: Annotated[
        Literal["onnx", "bf16", "fp16"],
        typer.Option(
            "--to",
            metavar="onnx|bf16|fp16",
            help="onnx, or a Transformers folder with weights of 16 bits.",
        ),
    ] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Also a quantized file.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            callback=_not_empty,
            help="Labelled data to check it with, instead of the docs of PyTorch.",
        ),
    ] = None,
    text: Annotated[str, typer.Option("--text", metavar="COLUMN", help="The column of the texts.")] = "text",
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="The column of the labels.")] = "label",
    text_pair: TextPairColumn = None,
    max_length: LengthOfModel = None,
    tolerance: Annotated[float, typer.Option("--tolerance", min=0, help="Largest difference of a logit.")] = 1e-4,
    overwrite: Overwrite = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Export a model to ONNX or to weights of 16 bits, and compare it with PyTorch on real texts.

    An ONNX folder answers with `onnxruntime` and `tokenizers` alone: `python DIR/predict.py "a text"`. One with weights
    of 16 bits is for Transformers, like the model itself.
    """
    if int8 and to != "onnx":
        raise ParamsError(f"--int8 quantizes an ONNX file: it cannot be given with --to {to}")
    _claim(context, out, overwrite=overwrite, inputs=_given(folder, data))
    from sensibert.data.encoding import Examples, encode, encode_texts, texts_of
    from sensibert.deploy.answers import usual_length
    from sensibert.models.backbones import check_length, class_names, load_model, load_tokenizer
    from sensibert.sources.files import read_labelled

    model = load_model(folder, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(str(folder), trust_remote_code=trust_remote_code)
    length = max_length or usual_length(folder, tokenizer.model_max_length)
    check_length(model.config, length)
    tokenizer.model_max_length = length
    if data is None:
        task, texts = None, _sample_sentences()
        examples: Examples = encode_texts(texts, tokenizer, length)
    else:
        columns: dict[str, Any] = {"text": text, "label": label, "text_pair": text_pair}
        task, rows, dropped = read_labelled(data, **columns, classes=class_names(folder))
        _say_dropped(dropped)
        texts, examples = texts_of(rows), encode(rows, tokenizer, length)
    if to == "onnx":
        from sensibert.deploy.onnx.export import export_onnx, why_int8_is_slow

        more: dict[str, Any] = {"texts": texts, "int8": int8, "tolerance": tolerance}
        report = export_onnx(model, examples, tokenizer, out, max_length=length, task=task, **more)
        found, expected = [report.onnx], report.pytorch_metrics
        found += [report.int8] if report.int8 else []
        warning = why_int8_is_slow() if int8 else None
    else:
        from sensibert.deploy.half import export_half

        half, expected = export_half(model, examples, tokenizer, out, number_format=to, task=task)
        found, warning = [half], None
    for fidelity in found:
        typer.echo(_fidelity(fidelity, expected))
    typer.echo(f"checked on {len(examples):,} texts; the export is in {out}")
    if warning:
        typer.echo(f"warning: {warning}", err=True)


def _read(
    train: str,
    validation: str | None,
    text: str,
    label: str,
    text_pair: str | None,
    regression: bool | None,
    max_train: int | None,
    seed: int,
) -> tuple[Task, DatasetDict, Audit]:
    from sensibert.sources.files import read_task

    task, dataset, audit = read_task(
        train,
        validation,
        text=text,
        label=label,
        text_pair=text_pair,
        regression=regression,
        max_train=max_train,
        seed=seed,
    )
    kind = f"{len(task.label_names)} classes" if task.label_names else "real numbers"
    rows = ", ".join(f"{split} {counts.kept:,}" for split, counts in audit.splits.items())
    typer.echo(f"data: {kind}; {rows}")
    for split, counts in audit.splits.items():
        for reason, count in counts.dropped.items():
            typer.echo(f"data: {count:,} rows left {split}: {reason.replace('_', ' ')}")
    return task, dataset, audit


def _refuse_beside_mask(context: typer.Context) -> None:
    """A mask says what stays; options that would say it too must not be ignored in silence."""
    for name in ("scores", "budget", "budget_kind", "criterion", "round_to", "max_drop", "max_latency", "max_size"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ParamsError(f"--mask says what stays: --{name.replace('_', '-')} cannot be given with it")


def _say_dropped(dropped: dict[str, int]) -> None:
    for reason, count in dropped.items():
        typer.echo(f"data: {count:,} rows left out: {reason.replace('_', ' ')}")


def _epochs(epochs: float | None) -> dict[str, float]:
    """Exactly as many as were asked for, if any were."""
    return {} if epochs is None else {"epochs": epochs, "min_steps": 0}


def _claim(context: typer.Context, out: Path, **how: Any) -> None:
    """Keep `out` for this command until it ends; see `places.making`."""
    try:
        str(out).encode()
    except UnicodeEncodeError:  # the writers of arrays and tables take names in UTF-8 alone
        raise PlaceError(f"--out {str(out)!r}: the name is not UTF-8; name another place") from None
    context.with_resource(making(out, **{"command": context.info_name, **how}))


def _given(*inputs: Path | str | None) -> list[Path | str]:
    return [given for given in inputs if given is not None]


def _candidates(model: str, threads: int | None, trust_remote_code: bool) -> list[Candidate]:
    """What a name stands for that is to be timed: a saved model, the files of an export, or a backbone."""
    from sensibert.data.tasks import TASKS
    from sensibert.deploy.bench import candidates_of, torch_candidate
    from sensibert.deploy.onnx.export import FP32_FILE
    from sensibert.models.backbones import load_backbone
    from sensibert.models.config_file import CONFIG, read_config
    from sensibert.models.loading import MINILM, TINY

    folder = Path(model)
    if (folder / CONFIG).is_file() and not (folder / FP32_FILE).exists():
        heads = read_config(folder).get("architectures") or ["none"]
        is_backbone = not any("Classification" in head for head in heads)
    else:
        is_backbone = model in (MINILM, TINY) or (not folder.exists() and model.count("/") == 1)
    if not is_backbone:
        return candidates_of(folder, model, threads, trust_remote_code=trust_remote_code)
    # With a classifier of any task: it is only timed.
    return [torch_candidate(model, load_backbone(model, TASKS["sst2"], 0, trust_remote_code=trust_remote_code))]


def _part(predicted: dict[str, float]) -> str:
    return f"{predicted['slim'] / predicted['dense']:.1%}"


def _sample_sentences() -> list[str]:
    """Real English for a check without data: what the docstrings of torch.nn say."""
    from sensibert.sources.pydocs import locate, parse

    return [sentence.text for sentence in parse("torch", locate("torch") / "nn")][:500]


def _fidelity(found: Fidelity, expected: dict[str, float] | None) -> str:
    line = f"{found.file}: {found.bytes / 1e6:.1f} MB, logits differ by {found.max_difference:.2g} at most"
    if found.agreement is not None:
        line += f", {found.agreement:.1%} of the predictions agree"
    for name, value in (found.metrics or {}).items():
        line += f", {name} {value:.2f}" + (f" (PyTorch {expected[name]:.2f})" if expected else "")
    return line
