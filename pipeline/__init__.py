"""One script per DVC stage: read the parameters, call the library, write the outputs. No logic.

Run from the repository root, as `python -m pipeline.STAGE`; dvc.yaml does.
"""
