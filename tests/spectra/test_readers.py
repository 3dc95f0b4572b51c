"""`read_spectra` on small files in the layouts of surveys, archives and one's own tables, all written by astropy."""

import gzip
import os
import shutil

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

import specdata
from specdata import SpecdataError
from specdata.dataset import rows
from specdata.spectra.arrays import FLUX, air_to_vacuum
from specdata.spectra.mock.spectrum import mock_spectra
from specdata.spectra.readers import read_spectra, read_spectrum

N = 400
WAVE = np.linspace(3800.0, 9200.0, N)
VALUES = 10 + np.random.default_rng(2).normal(0, 0.5, N)
SIGMA = np.full(N, 0.5)


def assert_read(spectrum, wavelength=WAVE, rtol=1e-5):
    """A spectrum with the pixels above."""
    np.testing.assert_allclose(spectrum.wavelength, wavelength, rtol=1e-6)
    np.testing.assert_allclose(spectrum.flux, VALUES, rtol=rtol)
    np.testing.assert_allclose(spectrum.ivar, 4, rtol=1e-4)


def image(path, flux=VALUES, header=(), errors=True, extra=()):
    cards = {"CRVAL1": 3800.0, "CDELT1": WAVE[1] - WAVE[0], "CRPIX1": 1, "BUNIT": "1E-17 erg/cm^2/s/Ang"} | dict(header)
    hdus = [fits.PrimaryHDU(flux.astype(np.float32), fits.Header(cards))]
    if errors:
        hdus.append(fits.ImageHDU(SIGMA.astype(np.float32), name="ERR"))
    fits.HDUList([*hdus, *extra]).writeto(path)
    return path


def sdss5(path, **changes):
    """A spec file of SDSS-V, in the layout of DR18 to DR20."""
    loglam = np.log10(WAVE).astype(np.float32)
    pixels = {"FLUX": VALUES.astype(np.float32), "LOGLAM": loglam, "IVAR": np.full(N, 4, np.float32)}
    pixels |= {name: np.zeros(N, np.int32) for name in ("AND_MASK", "OR_MASK")}
    pixels |= {name: np.ones(N, np.float32) for name in ("WDISP", "SKY", "WRESL", "MODEL")}
    row = {"FIELD": 101126, "MJD": 60477, "MJD_FINAL": 60477.3, "OBS": "APO", "RUN2D": "v6_1_3", "FIBERID_LIST": "7 8"}
    row |= {"PROGRAMNAME": "bhm_rm", "SURVEY": "BHM", "CATALOGID": 27021600949438682, "SDSS_ID": 54392544}
    row |= {"SPECOBJID": "16124105432187904000000012345", "PLUG_RA": 10.5, "PLUG_DEC": -1.25, "HEALPIX": 99}
    row |= {"CLASS": "STAR", "SUBCLASS": "G2", "Z": np.float32(1e-4), "Z_ERR": np.float32(1e-5), "ZWARNING": 0}
    row |= {"SN_MEDIAN_ALL": np.float32(20), "XCSAO_RXC": 12.0, "XCSAO_TEFF": 5800.0, "XCSAO_LOGG": 4.4}
    row |= {"XCSAO_FEH": -0.2} | changes
    hdus = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "SDSS 2.5-M", "VERS2D": "v6_1_3"}))]
    hdus.append(fits.BinTableHDU(Table(pixels), name="COADD"))
    hdus.append(fits.BinTableHDU(Table({name: [value] for name, value in row.items()}), name="SPALL"))
    fits.HDUList(hdus).writeto(path)
    return path


def desi(path, targets=3, redshifts=True):
    """A coadd of DESI with the arms b, r and z, which overlap, and redrock's results beside it."""
    arms = {"B": (3600.0, 5800.0), "R": (5760.0, 7620.0), "Z": (7520.0, 9824.0)}
    ids = 39627652591521181 + np.arange(targets)
    table = Table({"TARGETID": ids, "TARGET_RA": 10.0 + np.arange(targets), "TARGET_DEC": np.full(targets, 32.5)})
    table["OBJTYPE"], table["DESI_TARGET"], table["BGS_TARGET"] = ["TGT"] * (targets - 1) + ["SKY"], 2**60, 0
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="FIBERMAP")]
    for number, (arm, (start, stop)) in enumerate(arms.items()):
        wave = np.round(np.arange(start, stop + 0.01, 0.8), 1)
        flux = np.array([np.full(len(wave), 5.0 + row + 0.1 * number) for row in range(targets)], np.float32)
        mask = np.zeros(flux.shape, np.int32)
        mask[:, 10] = 1
        spread = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
        spread = np.broadcast_to((spread / spread.sum())[None, :, None], (targets, 11, len(wave))).astype(np.float32)
        parts = {"WAVELENGTH": wave, "FLUX": flux, "IVAR": np.ones_like(flux), "MASK": mask, "RESOLUTION": spread}
        hdus += [fits.ImageHDU(values, name=f"{arm}_{part}") for part, values in parts.items()]
    fits.HDUList([*hdus, fits.BinTableHDU(Table({"TARGETID": ids}), name="SCORES")]).writeto(path)
    if redshifts:
        found = Table({"TARGETID": ids, "Z": 0.1 + 0.1 * np.arange(targets), "ZERR": np.full(targets, 1e-5)})
        found["ZWARN"] = [0, 4, 0]
        found["SPECTYPE"], found["SUBTYPE"] = "GALAXY", ""
        found = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(found, name="REDSHIFTS")])
        found.writeto(path.with_name(path.name.replace("coadd", "redrock")))
    return path


def test_sdss_spec_files_as_before(spec_files, tmp_path):
    for path in spec_files.values():
        (spectrum,) = read_spectra(path)
        assert spectrum.name in path.name
    with path.open("rb") as source, gzip.open(tmp_path / "a", "wb") as packed:
        shutil.copyfileobj(source, packed)
    assert specdata.read_spectrum(tmp_path / "a").specobjid == spectrum.specobjid


def test_sdss5(tmp_path):
    spectrum = read_spectrum(sdss5(tmp_path / "a.fits"))
    assert_read(spectrum)
    assert (spectrum.name, spectrum.plate, spectrum.fiberid) == ("16124105432187904000000012345", 101126, 0)
    assert (spectrum.survey, spectrum.instrument, spectrum.subclass) == ("BHM", "BOSS", "G2")
    assert (spectrum.teff, spectrum.logg, spectrum.feh) == (5800, 4.4, -0.2)
    without = {"SPECOBJID": "", "XCSAO_RXC": 2.0}
    spectrum = read_spectrum(sdss5(tmp_path / "b.fits", **without))
    assert spectrum.specobjid == "101126-60477-27021600949438682"
    assert np.isnan(spectrum.teff)


def test_desi_coadds(tmp_path):
    first, second = read_spectra(desi(tmp_path / "coadd-main-bright-10000.fits"))  # the third is sky
    assert (first.specobjid, first.z, first.spectype, first.ra) == ("39627652591521181", 0.1, "GALAXY", 10.0)
    assert (second.zwarning, second.survey, second.target_bits) == (4, "desi", f"DESI_TARGET={2**60}")
    wave = first.wavelength
    np.testing.assert_allclose(np.diff(wave), 0.8, atol=1e-3)  # one grid, without doubles
    assert (wave[0], wave[-1]) == pytest.approx((3600, 9824))
    both = (wave > 5770) & (wave < 5799)  # where b and r overlap: the mean of 5.0 and 5.1, with twice the weight
    np.testing.assert_allclose(first.flux[both], 5.05, rtol=1e-5)
    np.testing.assert_allclose(first.ivar[both], 2)
    assert first.ivar[10] == 0  # masked
    np.testing.assert_allclose(first.wdisp[100:200], 1.5, rtol=0.01)


def test_desi_coadds_without_redshifts(tmp_path):
    first = next(read_spectra(desi(tmp_path / "coadd-main-bright-10000.fits", redshifts=False)))
    assert np.isnan(first.z)
    assert first.spectype == ""


@pytest.mark.parametrize(
    ("name", "columns", "meta"),
    [
        ("a.csv", {"wavelength": WAVE, "flux": VALUES, "error": SIGMA}, {}),
        ("a.txt", {"Wavelength_nm": WAVE / 10, "Flux": VALUES, "Flux_Err": SIGMA}, {}),
        ("b.csv", {"lam [um]": WAVE / 1e4, "FLUX": VALUES, "ivar": np.full(N, 4.0)}, {}),
        ("c.csv", {"loglam": np.log10(WAVE), "flux": VALUES, "var": SIGMA**2}, {}),
        ("a.ecsv", {"wave": WAVE / 10 * u.nm, "flux": (VALUES * u.Unit(FLUX)).to("W / (m2 nm)"), "ivar": None}, {}),
        ("a.fits", {"WAVE": WAVE * u.AA, "FLUX": VALUES * u.Unit(FLUX), "SIGMA": SIGMA * u.Unit(FLUX)}, {"Z": 0.25}),
        ("b.fits", {"freq": (WAVE * u.AA).to("THz", u.spectral()), "flux": VALUES, "err": SIGMA}, {"REDSHIFT": 0.25}),
    ],
)
def test_tables(tmp_path, name, columns, meta):
    if columns.get("ivar", 0) is None:
        columns = columns | {"ivar": 4 / columns["flux"].unit ** 2 * u.Unit(FLUX).to("W / (m2 nm)") ** -2 * np.ones(N)}
    table = Table(columns, meta=meta | ({"z": 0.25, "object": "NGC 1"} if name == "a.ecsv" else {}))
    table.write(tmp_path / name, format={"csv": "ascii.csv", "txt": "ascii"}.get(name[2:]))
    spectrum = read_spectrum(tmp_path / name)
    assert_read(spectrum)
    assert spectrum.z == 0.25 or name.endswith(("csv", "txt"))
    assert spectrum.name == ("NGC 1" if name == "a.ecsv" else name)


def write_parquet(path, name="wavelength", factor=1.0, unit=None):
    table = Table({name: WAVE * factor, "flux": VALUES, "ivar": np.full(N, 4.0)})
    table[name].unit = unit
    table.write(path, format="parquet")


def write_rows_of_two_lengths(path):
    columns = {"WAVE": WAVE, "FLUX": VALUES, "IVAR": np.full(N, 4.0)}
    arrays = {name: np.empty(2, object) for name in columns}
    for name, values in columns.items():
        arrays[name][:] = [values, values[:-100]]
    fits.BinTableHDU.from_columns([fits.Column(name, "PD()", array=rows) for name, rows in arrays.items()]).writeto(
        path
    )


COLUMNS = {"wavelength": WAVE, "flux": VALUES, "ivar": np.full(N, 4.0)}


@pytest.mark.parametrize(
    "write",
    [
        write_parquet,
        lambda path: write_parquet(path, "wave", 0.1, "nm"),
        write_rows_of_two_lengths,
        lambda path: Table(COLUMNS | {"loglam": np.log10(WAVE)}).write(path, format="fits"),  # and no spec file
        lambda path: Table(COLUMNS).write(path, format="votable"),
        lambda path: Table(COLUMNS).write(path, format="ascii.csv", delimiter=";"),
        lambda path: path.write_text(
            "\ufeffwavelength,flux,ivar\r\n" + "".join(f"{a},{b},4\r\n" for a, b in zip(WAVE, VALUES, strict=True))
        ),
    ],
)
def test_other_tables_under_a_wrong_name(tmp_path, write):
    write(tmp_path / "a.doc")
    assert_read(next(read_spectra(tmp_path / "a.doc")))


def test_columns_without_names(tmp_path):
    np.savetxt(tmp_path / "a.dat", np.column_stack([WAVE, VALUES, SIGMA]))
    assert_read(read_spectrum(tmp_path / "a.dat"))


def test_a_table_with_a_spectrum_in_each_row(tmp_path):
    columns = {"WAVELENGTH": [WAVE, WAVE], "FLUX": [VALUES, VALUES], "IVAR": [np.full(N, 4.0), np.zeros(N)]}
    Table(columns | {"OBSID": [17, 18], "z": [0.1, 0.2], "FLUX_R": [1.0, 2.0]}).write(tmp_path / "a.fits")
    broken = []
    (spectrum,) = read_spectra(tmp_path / "a.fits", on_error=lambda error: broken.append(str(error)))
    assert_read(spectrum)
    assert (spectrum.specobjid, spectrum.z, spectrum.source) == ("17", 0.1, "a.fits[0]")
    assert broken == ["a.fits[1]: no pixel holds information: flux or its error are not finite, 0, or masked"]
    with pytest.raises(SpecdataError, match=r"a.fits\[1\]: no pixel"):
        list(read_spectra(tmp_path / "a.fits"))
    with pytest.raises(SpecdataError, match="no pixel"):
        read_spectrum(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("header", "medium"),
    [
        ({}, "vacuum"),
        ({"CTYPE1": "WAVE", "CUNIT1": "Angstrom"}, "vacuum"),
        ({"CTYPE1": "AWAV", "CUNIT1": "nm", "CRVAL1": 380.0, "CDELT1": (WAVE[1] - WAVE[0]) / 10}, "air"),
        ({"CTYPE1": "LINEAR", "AIRORVAC": "air"}, "air"),
        ({"CTYPE1": "LINEAR", "CD1_1": WAVE[1] - WAVE[0], "REDSHIFT": 0.3}, "vacuum"),
    ],
)
def test_images(tmp_path, header, medium):
    spectrum = read_spectrum(image(tmp_path / "a.fits", header=header))
    assert_read(spectrum, WAVE if medium == "vacuum" else air_to_vacuum(WAVE))


def test_images_with_logarithmic_pixels_and_bands_of_iraf(tmp_path):
    loglam = np.linspace(np.log10(3800), np.log10(9200), N)
    log = {"CRVAL1": loglam[0], "CDELT1": loglam[1] - loglam[0], "DC-FLAG": 1, "CTYPE1": "LINEAR"}
    assert_read(read_spectrum(image(tmp_path / "a.fits", header=log)), 10**loglam)
    bands = np.array([VALUES, VALUES, VALUES * 0, SIGMA])[:, None]
    header = {"BANDID1": "spectrum: background fit", "BANDID4": "sigma - background fit"}
    assert_read(read_spectrum(image(tmp_path / "b.fits", bands, header, errors=False)))


def test_air_may_be_said_where_the_file_does_not(tmp_path):
    Table({"wavelength": WAVE, "flux": VALUES, "error": SIGMA}).write(tmp_path / "a.csv")
    assert_read(read_spectrum(tmp_path / "a.csv", medium="air"), air_to_vacuum(WAVE))
    Table({"wavelength_vac": WAVE, "flux": VALUES, "error": SIGMA}).write(tmp_path / "b.csv")
    assert_read(read_spectrum(tmp_path / "b.csv", medium="air"))
    Table({"wave_air": WAVE, "flux": VALUES, "error": SIGMA}).write(tmp_path / "c.csv")
    assert_read(read_spectrum(tmp_path / "c.csv"), air_to_vacuum(WAVE))


@pytest.mark.parametrize("layout", ["struct of lists", "list of structs"])
def test_multimodal_universe(tmp_path, layout):
    padded = {"flux": [*VALUES, 9.0], "ivar": [*np.full(N, 4.0), 0.0], "lambda": [*WAVE, -1.0]}
    padded |= {"lsf_sigma": [1.1] * (N + 1), "mask": [True] + [False] * (N - 1) + [True]}
    if layout == "struct of lists":
        kind = {name: pa.list_(pa.bool_() if name == "mask" else pa.float32()) for name in padded}
        spectrum = pa.array([padded], pa.struct(list(kind.items())))
    else:
        spectrum = pa.array([[dict(zip(padded, values, strict=True)) for values in zip(*padded.values(), strict=True)]])
    row = {
        "object_id": ["b'  482050393'"],
        "ra": [10.0],
        "dec": [-1.0],
        "Z": [0.1],
        "Z_ERR": [1e-5],
        "ZWARNING": [True],
    }
    row |= {"VDISP": [150.0], "VDISP_ERR": [-1.0], "_healpix_29": [37904641407228680]}
    row |= {f"SPECTROFLUX_{band}": [float(number)] for number, band in enumerate("UGRIZ")}
    pq.write_table(pa.table({"spectrum": spectrum} | row), tmp_path / "a.parquet")
    spectrum = read_spectrum(tmp_path / "a.parquet")
    np.testing.assert_allclose(spectrum.wavelength, WAVE, rtol=1e-6)
    assert (spectrum.specobjid, spectrum.z, spectrum.zwarning, spectrum.ra) == ("482050393", 0.1, 1, 10.0)
    assert spectrum.spectroflux == (0, 1, 2, 3, 4)
    assert np.isnan(spectrum.vdisp)
    assert spectrum.ivar[0] == 0
    assert spectrum.wdisp[0] == pytest.approx(1.1)
    columns = pq.read_table(tmp_path / "a.parquet").drop_columns("ZWARNING")
    for good in (True, False):  # of DESI, where the flag says that there is no warning
        pq.write_table(columns.append_column("ZWARN", pa.array([good])), tmp_path / "b.parquet")
        assert read_spectrum(tmp_path / "b.parquet").zwarning == (not good)


def test_rows_of_our_own_data_sets(tmp_path, monkeypatch):
    spectra = list(mock_spectra(3))
    pq.write_table(pa.Table.from_batches([rows.spectra_batch(spectra)]), tmp_path / "a.parquet", row_group_size=2)
    for one, other in zip(spectra, read_spectra(tmp_path / "a.parquet"), strict=True):
        assert (one.name, one.z, one.source) == (other.name, other.z, other.source)
        np.testing.assert_array_equal(one.or_mask, other.or_mask)
        np.testing.assert_array_equal(one.wdisp, other.wdisp)
    for name in (2, one.name, one.specobjid):
        assert read_spectrum(f"{tmp_path}/a.parquet[{name}]").name == one.name
    monkeypatch.setattr("specdata.spectra.readers.rows._MOST_VALUES", 1000)
    with pytest.raises(SpecdataError, match="a row group has more than 1,000 values in a column; write smaller ones"):
        read_spectrum(tmp_path / "a.parquet")


@pytest.mark.slow  # the import of specutils alone takes seconds
@pytest.mark.filterwarnings("ignore")
def test_specutils_reads_what_is_left(tmp_path):
    specutils = pytest.importorskip("specutils")
    loglam = np.linspace(np.log10(3800), np.log10(9200), N)  # an spSpec file of SDSS before DR8: five rows in one image
    header = {"TELESCOP": "SDSS 2.5-M", "FIBERID": 7, "COEFF0": loglam[0], "COEFF1": loglam[1] - loglam[0]}
    header |= {"CTYPE1": "LINEAR", "CRPIX1": 1, "CRVAL1": loglam[0], "CD1_1": loglam[1] - loglam[0], "DC-FLAG": 1}
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.array([VALUES, VALUES, SIGMA, VALUES * 0, VALUES]), fits.Header(header)).writeto(path)
    theirs = specutils.Spectrum.read(path).spectral_axis.to_value("Angstrom")
    assert_read(read_spectrum(path), theirs)


def empty_fits(path):
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"RA": [1.0]}), name="CAT")]).writeto(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            empty_fits,
            "not a spectrum that can be read: a FITS file with the HDUs PRIMARY (PrimaryHDU), CAT (BinTableHDU)",
        ),
        (
            lambda path: path.write_text("Dear reader, this is a letter.\n"),
            "not a spectrum that can be read: a text, of which no columns",
        ),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0"), "not a spectrum that can be read: it begins with"),
        (lambda path: path.write_text("wavelength_kg,flux\n1,2\n2,3\n"), "not a spectrum that can be read"),
        (lambda path: path.write_text("wavelength,flux,error\n1,x,1\n2,y,1\n"), "the column 'flux' must hold numbers"),
        (lambda path: path.write_text("wavelength,flux\n"), "the table has no rows"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.mkdir(), "this is a folder"),
        (lambda path: path.write_bytes(b"PAR1 and no more"), "the Parquet file is damaged"),
        (lambda path: path.write_bytes(b"\x1f\x8b and no more"), "the gzip data are damaged"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, write, message):
    path = tmp_path / "file"
    write(path)
    with pytest.raises(SpecdataError) as caught:
        list(read_spectra(path))
    found = str(caught.value)
    assert found.startswith(f"{path}: {message}")
    assert "\n" not in found
    if "not a spectrum" in message:
        assert "these are: SDSS spec files, DESI coadds" in found
        assert "download" not in found


def table_of(**columns):
    """What writes a FITS table, as bytes in which other bytes may be put in the place of some."""

    def write(path, old=b"", new=b"", hdus=1):
        fits.HDUList([fits.PrimaryHDU(), *[fits.BinTableHDU(Table(columns))] * hdus]).writeto(path)
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return write


def write_desi(path, change):
    """A coadd whose arm r has another flux."""
    with fits.open(desi(path)) as hdus:
        hdus["R_FLUX"].data = change(hdus["R_FLUX"].data)
        hdus.writeto(path, overwrite=True)


def write_many_rows(path):
    """A table of 200 million rows, all of which are there, on few blocks of the disk."""
    table_of(wavelength=WAVE, flux=VALUES)(path, ROWS, b"NAXIS2  =            200000000")
    os.truncate(path, 2880 * (2 + 1_111_112))


def write_bomb(path):
    table_of(wavelength=WAVE, flux=VALUES)(path)
    with gzip.open(path.rename(path.with_suffix(".plain")).with_suffix(".bomb"), "wb", 1) as stream:
        stream.write(path.with_suffix(".plain").read_bytes())
        for _ in range(17):
            stream.write(bytes(2**24))
    path.with_suffix(".bomb").rename(path)


ROWS = b"NAXIS2  =                  400"
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n# " + b"\n# ".join(
    b"%c: &%c [%s]" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 105)
)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_desi(path, lambda flux: flux[:1]), "the file is damaged or cut short"),
        (lambda path: write_desi(path, lambda flux: flux[0]), "the file is damaged or cut short"),
        (
            lambda path: (desi(path), path.with_name("redrock-a.fits").write_bytes(b"no table")),
            "its redshifts in redrock-a.fits cannot be read",
        ),
        (write_many_rows, "the table in HDU  has more than 2,147,483,648 bytes"),
        (write_bomb, "the file cannot be read (it decompresses to more than"),
        (
            lambda path: path.write_bytes(b"SIMPLE  =                    T".ljust(80) + b"COMMENT ".ljust(80) * 20_000),
            "a header of the FITS file has more than",
        ),
        (lambda path: table_of(a=[1])(path, hdus=1001), "the FITS file has more than 1,000 HDUs"),
        (lambda path: path.write_bytes(b"\\" * 2**20), "not a spectrum that can be read"),
        (lambda path: path.write_bytes(b"abc def\n" * 2**20), "not a spectrum that can be read"),
        (lambda path: path.write_bytes(b"# %ECSV 1.0\n# ---\n# " + BOMB + b"\nwave flux\n"), "the table is damaged"),
        (lambda path: path.write_text("wavelength,flux\n" + "5000,1e300\n" * 9), ""),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_at_once(tmp_path, write, message):
    path = tmp_path / "coadd-a.fits"
    write(path)
    with pytest.raises(SpecdataError) as caught:
        list(read_spectra(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_one_of_several_spectra_is_named(tmp_path):
    path = desi(tmp_path / "coadd-a.fits")
    with pytest.raises(
        SpecdataError, match=r"holds more than one spectrum; name one, such as '.*\[39627652591521181\]'"
    ):
        read_spectrum(path)
    assert read_spectrum(f"{path}[1]").z == read_spectrum(f"{path}[39627652591521182]").z == 0.2
    with pytest.raises(SpecdataError, match=r"coadd-a.fits: holds no spectrum '7'; give its row, counted from 0"):
        read_spectrum(f"{path}[7]")
