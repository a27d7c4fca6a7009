import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    """Top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir():
    """Folder of the public data sets; skips where there is none."""
    given = os.environ.get("SPARSENN_DATA")
    folder = pathlib.Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no public data in {folder.name if given else '../shared/data'}: set SPARSENN_DATA to its folder")
    return folder
