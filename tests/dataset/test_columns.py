"""The columns of a data set as others read them: units for astropy, HEALPix pixels for HATS."""

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy_healpix import HEALPix

from specdata.dataset import rows
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum


@pytest.fixture(scope="module")
def spectra(spec_files):
    unknown = Spectrum.from_arrays(np.arange(4000.0, 4010), np.arange(10.0) ** 2, np.ones(10))
    return [*map(read_spectrum, spec_files.values()), unknown]


def test_astropy_finds_the_units(tmp_path, spectra):
    table = pa.Table.from_batches([rows.spectra_batch(spectra)])
    schema = rows.schema("spectra")
    table = table.append_column("position_id", pa.array(["J1"] * len(table))).select(schema.names).cast(schema)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.warns(UserWarning, match="table::len"):  # the length of texts, which astropy then measures
        found = Table.read(tmp_path / "a.parquet")
    assert {name: str(found[name].unit) for name in ("ra", "vdisp", "teff", "flux", "ivar", "loglam", "z")} == {
        "ra": "deg", "vdisp": "km / s", "teff": "K", "flux": "1e-17 erg / (Angstrom s cm2)",
        "ivar": "1e+34 cm4 Angstrom2 s2 / erg2", "loglam": "dex(Angstrom)", "z": "None",
    }  # fmt: skip
    assert found["z"].description == "redshift"
    np.testing.assert_array_equal(found["or_mask"][1], spectra[1].or_mask)
    np.testing.assert_array_equal(found["wdisp"][0], spectra[0].wdisp)


def test_healpix_is_that_of_hats(spectra):
    table = rows.spectra_batch(spectra)
    ra, dec = (np.array(table[name])[:4] * u.deg for name in ("ra", "dec"))
    pixels = np.array(table["healpix"])
    np.testing.assert_array_equal(pixels[:4] >> 50, HEALPix(nside=16, order="nested").lonlat_to_healpix(ra, dec))
    assert pixels[4] == -1  # its position is unknown
    # The first of the 12 base pixels ends at the north pole, and number 4 holds the vernal equinox.
    north, equinox = rows._healpix([0.0, 1e-6], [90.0, 1e-6])
    assert (north, equinox >> 58) == (4**29 - 1, 4)
