"""Speed, measured: one command per question, each of them `python -m benchmarks.NAME` from the repository root."""
