"""A work tree of this repository in a folder of its own, to run the real pipeline in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
HANGS_AFTER = 1800
"""Seconds. It ends a test that waits for ever; a slow or busy machine stays far below."""


class WorkTree:
    """A git and DVC repository on the profile `tiny`, and the environment to run commands in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data" / "tiny"
        self.reports = root / "reports" / "tiny"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            **{
                f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
            },
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site"),
        }

    def find_first(self, folder: Path) -> None:
        """Look for commands in a folder before any other."""
        self.environment["PATH"] = f"{folder}{os.pathsep}{self.environment['PATH']}"

    def start(self, *command: str, **options: Any) -> subprocess.Popen:
        """Start a command; stdout and stderr come as one text."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, *command: str) -> str:
        """What a command prints that must succeed."""
        process = self.start(*command)
        output, _ = process.communicate(timeout=HANGS_AFTER)
        assert process.returncode == 0, f"{' '.join(command)}\n{output}"
        return output

    def fail(self, *command: str, **options: Any) -> str:
        """What a command prints that must fail with a plain message."""
        process = self.start(*command, **options)
        output, _ = process.communicate(timeout=HANGS_AFTER)
        assert process.returncode != 0, f"{' '.join(command)}\n{output}"
        assert "Traceback" not in output
        return output

    def stages_run_by(self, *command: str) -> set[str]:
        """Run a DVC command; the stages that it really ran, not restored."""
        return set(re.findall(r"^Running stage '(.+)':$", self.run(*command), flags=re.MULTILINE))

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro`; the stages that it really ran."""
        return self.stages_run_by("dvc", "repro", *arguments)

    def commit(self) -> None:
        """Commit whatever git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "State")

    def set_params(self, **changes: Any) -> None:
        """Replace keys of params.yaml."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**params, **changes}, sort_keys=False), encoding="utf-8")

    def lock(self) -> dict[str, str]:
        """Every output in dvc.lock and its hash."""
        content = yaml.safe_load((self.root / "dvc.lock").read_text(encoding="utf-8"))
        return {out["path"]: out["md5"] for stage in content["stages"].values() for out in stage.get("outs", [])}


def _tracked_files() -> list[str]:
    """What a clone would have, with what is not committed yet."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", ":!reports"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [file for file in listing.stdout.split("\0") if file and (ROOT / file).is_file()]


def make_origin(folder: Path) -> None:
    """Make a git repository with the tracked files of this one as they are now, on the profile `tiny`."""
    origin = WorkTree(folder)
    for file in _tracked_files():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, folder / file)
    origin.run("git", "init", "--quiet")
    origin.commit()
    origin.run("sensibert", "profile", "--force", "tiny")
    origin.commit()
