"""What the short lane of tests leaves to the long one."""

import pytest

FORMATS_IN_TURN = ["zarr", pytest.param("hdf5", marks=pytest.mark.slow)]
"""For what is one code for all formats: the short lane tries it on one of them."""
