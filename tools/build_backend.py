"""Build backend: copies `data/` into the package, then hands over to maturin.

The build tool does not follow symbolic links, and the wheel must carry the data sets, the
lexicon, the judge and the demo model under `emo/_bundle/`.
"""

import shutil
from pathlib import Path
from typing import Any

import maturin

_ROOT = Path(__file__).resolve().parent.parent
_BUNDLE = _ROOT / "python" / "emo" / "_bundle"


def _copy_data() -> None:
    shutil.rmtree(_BUNDLE, ignore_errors=True)
    shutil.copytree(_ROOT / "data", _BUNDLE)


def build_wheel(directory: str, config_settings: Any = None, metadata: Any = None) -> str:
    """Build a wheel that carries the data."""
    _copy_data()
    return maturin.build_wheel(directory, config_settings, metadata)


def build_editable(directory: str, config_settings: Any = None, metadata: Any = None) -> str:
    """Build an editable wheel; a checkout reads `data/` in place."""
    return maturin.build_editable(directory, config_settings, metadata)


build_sdist = maturin.build_sdist
get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
get_requires_for_build_editable = maturin.get_requires_for_build_editable
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable
