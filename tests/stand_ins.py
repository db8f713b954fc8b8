"""A small repository of DVC whose cells are stand-ins: seconds that sleep, and bytes that follow from the seed."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]

STEPS = """
import os, sys, time
from pathlib import Path

def wait():
    time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))

def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)

step, *arguments = sys.argv[1:]
if step == "download":
    write("data/tiny/raw/text", "a text")
elif step == "score":
    write(f"data/tiny/scores/{arguments[0]}", Path("data/tiny/raw/text").read_text() + arguments[0])
elif step == "tune":
    budget, seed = arguments
    if (once := os.environ.get("STAND_IN_KILLED")) and not Path(once).exists():
        Path(once).write_text(str(os.getpid()))
        import psutil
        worker = psutil.Process(os.getppid())
        while not worker.name().startswith("ray::"):
            worker = worker.parent()
        worker.kill()
        time.sleep(60)
    if os.environ.get("STAND_IN_FAILS") == f"{budget}-{seed}":
        sys.exit("error: it cannot be tuned")
    wait()
    host = os.environ.get("STAND_IN_HOST", "")
    write(f"data/tiny/models/{budget}-{seed}", Path(f"data/tiny/scores/{seed}").read_text() + budget + host)
    if done := os.environ.get("STAND_IN_DONE"):
        with open(done, "a") as file:
            file.write(f"{budget}-{seed} {time.time()}\\n")
    write(f"data/tiny/provenance/{budget}-{seed}.json", str(time.time_ns()))
elif step == "compare":
    models = sorted(Path("data/tiny/models").iterdir())
    write("reports/tiny/table.md", "".join(f"{model.name} {model.read_text()}\\n" for model in models))
"""

STAGES = {
    "vars": ["params.yaml"],
    "stages": {
        "download": {"cmd": "python steps.py download", "deps": ["steps.py"], "outs": ["data/tiny/raw/text"]},
        "score": {
            "matrix": {"seed": "${seeds}"},
            "cmd": "python steps.py score ${item.seed}",
            "deps": ["steps.py", "data/tiny/raw/text"],
            "outs": ["data/tiny/scores/${key}"],
        },
        "tune": {
            "matrix": {"budget": "${budgets}", "seed": "${seeds}"},
            "cmd": "python steps.py tune ${item.budget} ${item.seed}",
            "deps": ["steps.py", "data/tiny/scores/${item.seed}"],
            "params": ["training"],
            "outs": ["data/tiny/models/${key}", "data/tiny/provenance/${key}.json"],
        },
        "compare": {
            "cmd": "python steps.py compare",
            "deps": ["steps.py", "data/tiny/models"],
            "outs": [{"reports/tiny/table.md": {"cache": False}}],
        },
    },
}


def environment(root: Path, **more: str) -> dict[str, str]:
    """The environment for commands in such a repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    who = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **kept,
        **who,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site"),
        "XDG_CACHE_HOME": str(root.parent / "cache"),
        **more,
    }


def on_loopback() -> dict[str, str]:
    """The environment in which Ray listens to this machine and to who has the token alone."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def two_nodes(root: Path, **more: str) -> "subprocess.Popen[str]":
    """Start a Ray cluster of two nodes for commands in such a repository: its first line of output is its address."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "two_nodes.py")],
        env=environment(root, **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def run(root: Path, *command: str, fails: bool = False, **more: str) -> str:
    """What a command prints in such a repository, stdout and stderr as one text."""
    finished = subprocess.run(
        command,
        cwd=root,
        env=environment(root, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert (finished.returncode != 0) == fails, f"{' '.join(command)}\n{finished.stdout}"
    return finished.stdout


def make(root: Path, budgets: list[float], seeds: list[int]) -> None:
    """Make the repository: download, a score for each seed, a model for each budget and seed, a table."""
    root.mkdir(parents=True)
    params = yaml.safe_load((ROOT / "profiles" / "tiny.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump({**params, "budgets": budgets, "seeds": seeds}))
    (root / "dvc.yaml").write_text(yaml.safe_dump(STAGES, sort_keys=False))
    (root / "steps.py").write_text(STEPS)
    (root / ".gitignore").write_text("/data\n")
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    (root / ".dvc" / "config").write_text("[core]\n    autostage = false\n")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "Stand-ins")


def lock(root: Path) -> dict:
    """dvc.lock, without the hashes of measured outputs."""
    stages = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    for stage in stages.values():
        for out in stage["outs"]:
            if "provenance" in out["path"]:
                del out["md5"], out["size"]
    return stages
