"""The cells of a grid on many machines: DVC says what is outdated, and Ray finds each cell a place.

plan        which stages, level by level (pure)
lock        what dvc.lock says about a stage (pure)
workspace   the head's work tree: what is outdated, and how results come into it
pinned      the commit that every clone is made from
clones      a worker's clone: one cell in it at a time
reaper      ends the command of a cell whose worker is gone
cluster     Ray
progress    what the user sees meanwhile
run         the flow
"""
