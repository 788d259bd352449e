"""Training: a leaf that no other room imports.  Needs `pip install "slowfast-hub[train]"`."""
