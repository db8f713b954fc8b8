"""Look up known vulnerabilities of what requirements.lock pins; `make audit` runs this.

Exit code 1 means findings, or an audit that failed by itself. Where the service cannot be reached nothing is known,
so that is said, and the exit code is 0. pip-audit gets an environment of its own: it needs some forty packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

LOCK = Path("requirements.lock")
FOLDER = Path("build/audit")
_PYTHON = FOLDER / "bin" / "python"
_NO_NETWORK = ("ConnectionError", "Connection to", "timed out", "Max retries exceeded", "No matching distribution")


def main() -> int:
    """Install pip-audit if it is not there, run it, and say what it found."""
    if not (FOLDER / "bin" / "pip-audit").exists():
        venv.create(FOLDER, with_pip=True)
        installed = _run("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "pip-audit")
        if installed.returncode:
            return _failed(installed, "pip-audit could not be installed")
    options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    audited = _run("-m", "pip_audit", "--requirement", str(LOCK), *options)
    try:
        packages = json.loads(audited.stdout)["dependencies"]
    except ValueError:  # it ended before it could answer
        return _failed(audited, "pip-audit reached no service")
    return _report(packages)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_PYTHON, *arguments], capture_output=True, text=True, check=False)


def _failed(process: subprocess.CompletedProcess[str], what: str) -> int:
    last = (process.stderr.strip().splitlines() or ["no reason given"])[-1]
    if any(sign in process.stderr for sign in _NO_NETWORK):
        print(f"audit skipped: {what} ({last[:200]})")
        return 0
    print(process.stderr, file=sys.stderr)
    return 1


def _report(packages: list[dict[str, object]]) -> int:
    unknown = [package for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        print(f"audit skipped: the service knows none of the {len(packages)} packages, so it is not PyPI that answers")
        return 0
    found = [(package, entry) for package in packages for entry in package.get("vulns", ())]  # type: ignore[attr-defined]
    for package, entry in found:
        mended = ", ".join(entry["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {entry['id']}, mended in {mended}")
    print(f"{len(packages) - len(unknown)} packages audited, {len(unknown)} unknown, {len(found)} vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
