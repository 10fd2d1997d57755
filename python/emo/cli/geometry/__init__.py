"""``emo geometry``: compare vectors, each result beside its chance level or null."""

from __future__ import annotations

import click

from emo.cli import LazyGroup

VERBS = {
    "rsa": "Do two sets of vectors arrange the same conditions alike?",
    "overlap": "How much do the subspaces that two sets of vectors span share?",
    "align": "How well does a linear map carry one space into another?",
    "pca": "Which directions carry the variance of the rows?",
}


@click.group(cls=LazyGroup, verbs=VERBS, package="emo.cli.geometry")
def geometry() -> None:
    """Compare vectors of stores, directions files and array files.

    An array file is .npz or .safetensors with `vectors` (n, d) and `labels` (n), or with one 1-D
    array for each label; or .npy (n, d), its labels the row numbers. Labels in a .safetensors
    file are integers, a JSON list in the metadata, or uint8 text padded with zeros. Arrays named
    SITE__LABEL or SITE/LABEL have sites too. Two inputs are matched by label.
    """
