"""Where the bundled data lies: `data/` in a checkout, `emo/_bundle/` in a wheel."""

from __future__ import annotations

from pathlib import Path

from emo.errors import ResourceError

_PACKAGE = Path(__file__).resolve().parent.parent
_CHECKOUT = _PACKAGE.parent.parent


def bundled(name: str) -> Path:
    """Return the path of a bundled file or folder, such as ``sev.jsonl`` or ``demo-model``.

    Raises
    ------
    ResourceError
        When the installation lacks it.
    """
    in_checkout = (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "rust").is_dir()
    path = (_CHECKOUT / "data" if in_checkout else _PACKAGE / "_bundle") / name
    if not path.exists():
        raise ResourceError(
            f"the bundled {name} is missing from this installation",
            hint="install emo-circuits from its wheel",
        )
    return path
