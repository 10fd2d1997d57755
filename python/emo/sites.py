"""Names of the places in a transformer where a tensor is read or written.

=============  ====================================================  ==========
part           meaning                                               width
=============  ====================================================  ==========
``resid_pre``  residual stream entering the block, before any norm   d_model
``resid_mid``  residual after the attention output, before any norm  d_model
``resid_post`` residual after the MLP output, before the final norm  d_model
``attn_out``   what the attention sublayer adds to the residual      d_model
``mlp_out``    what the MLP sublayer adds to the residual            d_model
``head_out``   input of the attention output projection, all heads   n_heads * d_head
``mlp_act``    input of the MLP down projection                      d_mlp
=============  ====================================================  ==========
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from emo.errors import UsageError, did_you_mean

PARTS = ("resid_pre", "attn_out", "head_out", "resid_mid", "mlp_act", "mlp_out", "resid_post")
DEFAULT_PARTS = ("resid_mid", "resid_post", "mlp_act", "head_out")
_ALIASES = {
    "z": "head_out",
    "attn.hook_z": "head_out",
    "mlp.hook_post": "mlp_act",
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
}
_NAME = re.compile(r"(?:L|blocks\.)(\d+)\.(.+)")


def parse_part(name: str) -> str:
    """Return the canonical part for `name`, resolving aliases.

    Raises
    ------
    UsageError
        When no such part exists.

    >>> parse_part("attn.hook_z")
    'head_out'
    """
    part = _ALIASES.get(name, name)
    if part not in PARTS:
        raise UsageError(f"unknown site {name!r}", hint=did_you_mean(name, PARTS))
    return part


@dataclass(frozen=True, order=True)
class Site:
    """One part of one layer (0-based).

    >>> Site.parse("blocks.12.mlp.hook_post")
    Site(layer=12, part='mlp_act')
    >>> str(Site(3, "resid_mid"))
    'L3.resid_mid'
    """

    layer: int
    part: str

    @classmethod
    def parse(cls, name: str) -> Site:
        """Read ``L12.mlp_act`` or a TransformerLens name such as ``blocks.12.attn.hook_z``.

        Raises
        ------
        UsageError
            When the name does not follow either form.
        """
        match = _NAME.fullmatch(name.strip())
        if match is None:
            raise UsageError(f"unknown site {name!r}", hint="write a site as L12.mlp_act")
        return cls(int(match[1]), parse_part(match[2]))

    def __str__(self) -> str:
        return f"L{self.layer}.{self.part}"


def tensor_name(site: Site, position: str) -> str:
    """Name of a store tensor: site and token position.

    >>> tensor_name(Site(12, "mlp_act"), "last")
    'L12.mlp_act@last'
    """
    return f"{site}@{position}"


def parse_layers(text: str, n_layers: int) -> tuple[int, ...]:
    """Read layers: ``11-20`` (inclusive), ``3,5``, ``all``, or shares of the depth ``0.4-0.7``.

    Parameters
    ----------
    text : str
        0-based layers; a range with a decimal point counts in shares of the depth.
    n_layers : int
        Number of layers of the model.

    Returns
    -------
    tuple of int
        Ascending, without repeats.

    Raises
    ------
    UsageError
        When the text cannot be read or names a layer that the model lacks.

    >>> parse_layers("0.5-1.0", 6)
    (3, 4, 5)
    >>> parse_layers("1-2,5", 6)
    (1, 2, 5)
    """
    if text.strip() == "all":
        return tuple(range(n_layers))
    chosen: set[int] = set()
    for piece in text.split(","):
        chosen.update(_layer_range(piece.strip(), n_layers, text))
    missing = sorted(layer for layer in chosen if layer >= n_layers)
    if missing:
        raise UsageError(
            f"layer {missing[0]} does not exist: the model has {n_layers} layers",
            hint=f"layers run from 0 to {n_layers - 1}",
        )
    return tuple(sorted(chosen))


def _layer_range(piece: str, n_layers: int, text: str) -> Iterable[int]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", piece)
    if match is None:
        raise UsageError(
            f"cannot read the layers {text!r}", hint="write 11-20, or 3,5, or shares 0.4-0.7"
        )
    low, high = match[1], match[2] or match[1]
    if "." not in low and "." not in high:
        if int(low) > int(high):
            raise UsageError(
                f"the layer range {piece!r} runs backwards", hint=f"write {high}-{low}"
            )
        return range(int(low), int(high) + 1)
    start, stop = float(low), float(high)
    if not 0 <= start <= stop <= 1:
        raise UsageError(
            f"the share {piece!r} must lie between 0 and 1", hint="write shares such as 0.4-0.7"
        )
    first = min(int(start * n_layers + 1e-9), n_layers - 1)
    last = min(int(stop * n_layers + 1e-9), n_layers)
    return range(first, max(last, first + 1))
