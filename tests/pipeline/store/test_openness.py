"""A store opens in plain zarr-python, tensorstore and h5py, without our code, and says the same numbers."""

import json

import h5py
import numpy as np
import pytest
import zarr

from .tiers import KINDS, a_store, as_float32, stored
from .toys import ROWS

ZARR = [kind for kind in sorted(KINDS) if "hdf5" not in kind]
HDF5 = [kind for kind in sorted(KINDS) if "hdf5" in kind]


def meant(values, attributes):
    """The numbers, by what the array's own attributes say and nothing else."""
    if values.dtype == np.uint16:
        assert attributes["logical_dtype"] == "bfloat16"
        return as_float32(values)
    if values.dtype == np.int8:
        scale = np.array(attributes["visual_thought"]["channel_scale"]["values"], np.float32)
        token = np.ascontiguousarray(values[..., -4:]).view("<f4")
        return values[..., :-4] * token * scale
    assert attributes["logical_dtype"] == "float32"
    return values


@pytest.mark.parametrize("kind", ZARR)
class TestZarr:
    def test_zarr_python_reads_the_same_numbers(self, tmp_path, kind):
        store, x = a_store(tmp_path / "b", kind)
        array = zarr.open_array(store.arrays()[0].path, mode="r")
        values = array[:]
        assert values.tobytes() == stored(store).tobytes()
        assert array.metadata.zarr_format == 3
        assert (array[130:133] == values[130:133]).all()
        tolerance = 0.02 * np.abs(x).max() if values.dtype == np.int8 else 0
        np.testing.assert_allclose(meant(values, array.attrs), x, atol=tolerance, rtol=0)
        np.testing.assert_array_equal(meant(values, array.attrs), store.read("z", range(ROWS)).float().numpy())

    def test_tensorstore_reads_the_same_numbers(self, tmp_path, kind):
        tensorstore = pytest.importorskip("tensorstore")
        store, _ = a_store(tmp_path / "b", kind)
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store.arrays()[0].path}/"}}
        array = tensorstore.open(spec, read=True).result()
        assert array.read().result().tobytes() == stored(store).tobytes()
        assert array[131].read().result().tobytes() == stored(store)[131].tobytes()

    def test_a_careless_reader_sees_nan_for_a_missing_shard_and_not_zeros(self, tmp_path, kind):
        store, x = a_store(tmp_path / "b", kind)
        array = store.arrays()[0]
        array.part_path(1).unlink()
        opened = zarr.open_array(array.path, mode="r")
        found = meant(opened[:], opened.attrs)
        assert np.isnan(found[128:256]).all()
        assert np.isfinite(found[:128]).all()
        assert np.isfinite(found[256:]).all()
        assert found.shape == x.shape

    def test_a_careless_reader_is_told_of_a_flipped_bit(self, tmp_path, kind):
        store, _ = a_store(tmp_path / "b", kind)
        array = store.arrays()[0]
        path = array.part_path(0)
        data = bytearray(path.read_bytes())
        data[20] ^= 1
        path.chmod(0o640)
        path.write_bytes(data)
        with pytest.raises(Exception, match=r"(?i)checksum"):
            zarr.open_array(array.path, mode="r")[0]


@pytest.mark.parametrize("kind", HDF5)
class TestHdf5:
    def test_h5py_and_json_read_the_same_numbers(self, tmp_path, kind):
        store, x = a_store(tmp_path / "b", kind)
        array, values = store.arrays()[0], []
        for part in range(array.num_parts):
            with h5py.File(array.part_path(part), "r") as file:
                rows = file["rows"]
                assert sorted(file) == ["crc32c", "rows"]
                assert (rows.chunks, rows.compression) == ((1, *rows.shape[1:]), None)
                assert (rows.attrs["feature"], rows.attrs["index"]) == (array.key, array.index_id)
                values.append(rows[:])
        found = np.concatenate(values)
        assert found.tobytes() == stored(store).tobytes()
        attributes = json.loads((array.path / "array.json").read_text())
        np.testing.assert_array_equal(meant(found, attributes), store.read("z", range(ROWS)).float().numpy())
        assert found.shape[:2] == x.shape[:2]
