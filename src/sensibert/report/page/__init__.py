"""Pages to look at: one self-contained HTML file beside each compressed model and beside the tables of each profile.

`model` and `profile` say what is on a page, as the plain records of `blocks`; `charts` draws; `render` makes the file.
"""
