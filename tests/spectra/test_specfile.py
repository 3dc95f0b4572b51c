"""`read_spectrum` against plain astropy on real files, and against every kind of bad file we could think of."""

import csv
import gzip
import math
import re
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from specdata.errors import SpecdataError
from specdata.spectra.specfile import check_whole, read_spectrum

ARRAYS = {
    "loglam": np.float64,
    "flux": np.float32,
    "ivar": np.float32,
    "and_mask": np.int32,
    "or_mask": np.int32,
    "wdisp": np.float32,
}


def by_astropy(path):
    """Every field of a real file as plain astropy reads it, apart from our choices of z and dered_i."""
    with fits.open(path, memmap=False) as hdus:
        coadd, row = hdus[1].data, hdus[2].data[0]
        names = {name.upper() for name in hdus[2].columns.names}
        fields = {name: np.array(coadd[name]) for name in ARRAYS}
        fields |= {field: int(row[field.upper()]) for field in ("plate", "mjd", "fiberid", "zwarning")}
        columns = {"z": "Z", "zerr": "Z_ERR", "ra": "PLUG_RA", "dec": "PLUG_DEC", "snmedian": "SN_MEDIAN_ALL"}
        fields |= {field: float(row[column]) for field, column in columns.items()}
        for field in ("subclass", "run2d", "specobjid", "survey", "instrument"):
            fields[field] = str(row[field.upper()]).strip() if field.upper() in names else ""
        if "PROGRAMNAME" in names and "SURVEY" not in names:  # SPALL, which names neither
            fields |= {"survey": "eboss" if row["MJD"] >= 56839 else "boss", "instrument": "BOSS"}
        fields["vdisp"] = float(row["VDISP"]) if row["VDISP_ERR"] > 0 else math.nan
        has_elodie = row["CLASS"].strip() == "STAR" and row["ELODIE_TEFF"] > 0
        for field in ("teff", "logg", "feh"):
            fields[field] = float(row[f"ELODIE_{field.upper()}"]) if has_elodie else math.nan
        fields["bestobjid"] = row["BESTOBJID" if "BESTOBJID" in names else "OBJID"].strip()
        fields["spectroflux"] = tuple(row["SPECTROFLUX"].tolist())
        bits = {
            name: int(row[name])
            for name in hdus[2].columns.names
            if re.search("_TARGET[0-9]*$|^(PRIM|SEC)TARGET", name)
        }
        fields["target_bits"] = " ".join(f"{name}={value}" for name, value in bits.items() if value)
        fields["spectype"] = row["CLASS"].strip()
        photometry = "MODELMAG" in names and row["MODELMAG"][3] > 0
        fields["dered_i"] = float(row["MODELMAG"][3]) - float(row["EXTINCTION"][3]) if photometry else math.nan
        fields["is_mock"] = False
        fields["source"] = path.name
    return fields


def assert_equals_astropy(path):
    spectrum = read_spectrum(path)
    for field, expected in by_astropy(path).items():
        found = getattr(spectrum, field)
        if field in ARRAYS:
            np.testing.assert_array_equal(found, expected, err_msg=f"{path.name} {field}")
            assert found.dtype == ARRAYS[field]
            assert found.dtype.isnative
            assert found.flags.c_contiguous
            assert found.flags.owndata
            assert found.flags.writeable
        else:
            same = found == expected or (found != found and expected != expected)
            assert same, f"{path.name} {field}: {found!r} instead of {expected!r}"
            assert type(found) is type(expected), f"{path.name} {field}"


def coadd_table(n=50):
    """Columns of a made-up HDU 1, n pixels."""
    rng = np.random.default_rng(1)
    return {
        "flux": rng.normal(10, 1, n).astype(np.float32),
        "loglam": (3.58 + 1e-4 * np.arange(n)).astype(np.float32),
        "ivar": np.ones(n, np.float32),
        "and_mask": np.zeros(n, np.int32),
        "or_mask": np.ones(n, np.int32),
        "wdisp": np.ones(n, np.float32),
    }


def specobj_row(**changes):
    """Columns of a made-up HDU 2, one row; a change to None leaves a column out."""
    row = {"PLATE": 266, "MJD": 51602, "FIBERID": 7, "CLASS": "GALAXY", "Z": np.float32(0.1), "ZWARNING": 0} | changes
    return {name: np.array([value]) for name, value in row.items() if value is not None}


def write(path, coadd=None, row=None, primary=None, names=("COADD", "SPECOBJ")):
    """Write a made-up spec file with astropy."""
    hdus = [fits.PrimaryHDU(header=fits.Header(primary or {}))]
    for name, columns in zip(names, (coadd_table() if coadd is None else coadd, row or specobj_row()), strict=True):
        hdus.append(fits.BinTableHDU(Table(columns), name=name))
    fits.HDUList(hdus).writeto(path)
    return path


def assert_refused(path, *parts):
    """Reading the file fails with one sentence that names the file and holds the parts."""
    with pytest.raises(SpecdataError) as caught:
        read_spectrum(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("kind", ["galaxy", "boss_galaxy", "star", "boss_qso"])
def test_real_files_equal_plain_astropy(spec_files, kind):
    assert_equals_astropy(spec_files[kind])


def test_unsigned_specobjid(spec_files):
    assert read_spectrum(spec_files["boss_qso"]).specobjid == "4565526960936034304"
    # plate << 50 | fiber << 38 | (mjd - 50000) << 24 | run2d << 10, as the survey packs it
    spectrum = read_spectrum(str(spec_files["galaxy"]))
    assert int(spectrum.specobjid) >> 38 == spectrum.plate << 12 | spectrum.fiberid


def test_shared_files_agree_with_the_index(shared_sdss):
    same = {name: name for name in ("plate", "mjd", "fiberid", "zwarning", "z", "ra", "dec", "run2d", "survey")}
    same |= {"zerr": "z_err", "spectype": "cls", "subclass": "subclass"}
    rows = list(csv.DictReader((shared_sdss / "index.csv").read_text().splitlines()))
    assert len(rows) == 816
    for number, row in enumerate(rows):
        path = shared_sdss / "spectra" / row["file"]
        spectrum = read_spectrum(path)
        for field, column in same.items():
            found = getattr(spectrum, field)
            expected = type(found)(row[column])
            if field == "survey":  # the index has the column SURVEY, which the files of BOSS lack
                expected = expected or ("eboss" if spectrum.mjd >= 56839 else "boss")
            assert found == expected, f"{row['file']} {field}"
        assert len(spectrum.loglam) == int(row["npix"])
        assert int(spectrum.specobjid) >> 38 == spectrum.plate << 12 | spectrum.fiberid
        if number % 20 == 0:
            assert_equals_astropy(path)


def test_stars_quasars_and_warned_galaxies_equal_plain_astropy(shared_sdss):
    rows = list(csv.DictReader((shared_sdss / "other.csv").read_text().splitlines()))
    assert len(rows) == 18
    for row in rows:
        spectrum = read_spectrum(shared_sdss / "other" / row["file"])
        assert (spectrum.spectype, spectrum.zwarning) == (row["class"], int(row["zwarning"]))
        assert spectrum.z == pytest.approx(float(row["z"]), abs=6e-6)
        assert_equals_astropy(shared_sdss / "other" / row["file"])


def test_only_the_required_columns(tmp_path):
    coadd = coadd_table()
    del coadd["or_mask"], coadd["wdisp"]
    spectrum = read_spectrum(write(tmp_path / "spec-a.fits", coadd))
    assert (spectrum.name, spectrum.spectype, spectrum.zwarning) == ("0266-51602-0007", "GALAXY", 0)
    for field in ("subclass", "run2d", "specobjid", "survey", "instrument"):
        assert getattr(spectrum, field) == ""
    for field in ("zerr", "ra", "dec", "snmedian", "dered_i"):
        assert math.isnan(getattr(spectrum, field))
    np.testing.assert_array_equal(spectrum.or_mask, spectrum.and_mask)
    assert np.isnan(spectrum.wdisp).all()
    assert spectrum.wdisp.shape == spectrum.flux.shape
    assert not spectrum.is_mock


@pytest.mark.parametrize(
    ("primary", "survey", "is_mock"),
    [
        ({"MOCK": True}, "mock", True),
        ({"MOCK": True}, "sdss", True),
        ({}, "mock  ", True),
        ({"MOCK": False}, "", False),
    ],
)
def test_mocks(tmp_path, primary, survey, is_mock):
    path = write(tmp_path / "spec-a.fits", row=specobj_row(SURVEY=survey, SPECOBJID=" 1000000001"), primary=primary)
    spectrum = read_spectrum(path)
    assert (spectrum.is_mock, spectrum.specobjid, spectrum.survey) == (is_mock, "1000000001", survey.strip())


NOQSO = {"Z_NOQSO": np.float32(0.5), "Z_ERR_NOQSO": np.float32(0.01), "ZWARNING_NOQSO": 0, "CLASS_NOQSO": "GALAXY"}
NOQSO |= {"SUBCLASS_NOQSO": "AGN", "Z": np.float32(2.0), "ZWARNING": 4, "BOSS_TARGET1": 1}


@pytest.mark.parametrize(
    ("changes", "z", "zwarning", "subclass"),
    [
        ({}, 0.5, 0, "AGN"),
        ({"BOSS_TARGET1": 1 << 8 | 1 << 40}, 0.5, 0, "AGN"),
        ({"BOSS_TARGET1": 1 << 40}, 2.0, 4, ""),
        ({"BOSS_TARGET1": None}, 2.0, 4, ""),
        ({"CLASS": "QSO"}, 2.0, 4, ""),
        ({"CLASS_NOQSO": " "}, 2.0, 4, ""),
        ({"Z_NOQSO": np.float32(np.nan)}, 2.0, 4, ""),
    ],
)
def test_galaxy_targets_use_the_fit_without_quasars(tmp_path, changes, z, zwarning, subclass):
    spectrum = read_spectrum(write(tmp_path / "spec-a.fits", row=specobj_row(**(NOQSO | changes))))
    assert (spectrum.z, spectrum.zwarning, spectrum.subclass) == (z, zwarning, subclass)
    assert spectrum.spectype == changes.get("CLASS", "GALAXY")


def test_brightness_and_signal(tmp_path):
    def read(row):
        return read_spectrum(write(tmp_path / f"{len(list(tmp_path.iterdir()))}.fits", row=row))

    band = np.arange(5) == 3
    for magnitude, extinction, dered in [(18.0, 0.5, 17.5), (0, 0.5, math.nan), (-9999, 0, math.nan)]:
        photometry = {"MODELMAG": np.float32([band * magnitude]), "EXTINCTION": np.float32([band * extinction])}
        assert read(specobj_row() | photometry).dered_i == pytest.approx(dered, nan_ok=True)
    assert read(specobj_row(SN_MEDIAN=np.float32(3))).snmedian == 3.0
    assert read(specobj_row(SN_MEDIAN=np.float32(3), SN_MEDIAN_ALL=np.float32(4))).snmedian == 4.0
    assert math.isnan(read(specobj_row() | {"SN_MEDIAN": np.ones((1, 5), np.float32)}).snmedian)


def test_unsigned_and_scaled_columns(tmp_path):
    coadd = coadd_table()
    coadd["and_mask"] = np.full(50, 2**31 + 1, np.uint32)  # astropy writes it with TZERO = 2**31
    spectrum = read_spectrum(write(tmp_path / "a.fits", coadd, specobj_row(SPECOBJID=np.uint64(2**64 - 1))))
    assert spectrum.specobjid == str(2**64 - 1)
    np.testing.assert_array_equal(spectrum.and_mask.view(np.uint32), coadd["and_mask"])

    columns = [fits.Column(name, "E", array=coadd[name]) for name in ("loglam", "ivar")]
    columns.append(fits.Column("flux", "D", array=coadd["flux"].astype(np.float64), bscale=0.01, bzero=5))
    columns.append(fits.Column("and_mask", "J", array=coadd["or_mask"]))
    table = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([fits.PrimaryHDU(), table, fits.BinTableHDU(Table(specobj_row()))]).writeto(tmp_path / "b.fits")
    with fits.open(tmp_path / "b.fits") as hdus:
        expected = np.array(hdus[1].data["flux"], np.float32)
    np.testing.assert_allclose(read_spectrum(tmp_path / "b.fits").flux, expected, rtol=1e-6)


def test_gzip(spec_files, tmp_path):
    path = tmp_path / "spec-0468-51912-0523.fits.gz"
    raw = gzip.compress(spec_files["galaxy"].read_bytes())
    path.write_bytes(raw)
    assert read_spectrum(path).z == read_spectrum(spec_files["galaxy"]).z
    for keep in (2, 5, 12, 1000, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:keep])
        assert_refused(path, "gzip data are damaged or cut short")


def test_the_file_may_go_away(spec_files, tmp_path):
    path = shutil.copy(spec_files["galaxy"], tmp_path / "spec-a.fits")
    spectrum = read_spectrum(path)
    path.write_bytes(b"")
    assert spectrum.good.any()


def test_not_a_spectrum(tmp_path):
    assert_refused(tmp_path / "none.fits", "no such file")
    assert_refused(tmp_path, "this is a folder")
    for content in (b"", b"<!DOCTYPE html><html>", b"plate,mjd\n", bytes(5760)):
        path = tmp_path / "spec-a.fits"
        path.write_bytes(content)
        assert_refused(path, "not a FITS file", "download the file again")


def test_other_fits_files(tmp_path):
    path = tmp_path / "image.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)))]).writeto(path)
    assert_refused(path, "header of HDU 1", "binary table")
    path = tmp_path / "one.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table(specobj_row()))]).writeto(path)
    assert_refused(path, "HDU 2 is missing")
    path = tmp_path / "primary.fits"
    fits.PrimaryHDU().writeto(path)
    assert_refused(path, "HDU 1 is missing")


def test_missing_columns(tmp_path):
    for name in ("flux", "loglam", "ivar", "and_mask"):
        coadd = {key: values for key, values in coadd_table().items() if key != name}
        path = write(tmp_path / f"{name}.fits", coadd)
        assert_refused(path, f"column '{name}' is missing from HDU 1 (COADD)")
    for name in ("PLATE", "MJD", "FIBERID", "CLASS", "Z", "ZWARNING"):
        path = write(tmp_path / f"{name}.fits", row=specobj_row(**{name: None}))
        assert_refused(path, f"column '{name}' is missing from HDU 2 (SPECOBJ)")


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("ivar", lambda v: v * 0, "'ivar' of HDU 1 (COADD) is 0 in every pixel"),
        ("ivar", lambda v: -v, "must be finite and not negative"),
        ("ivar", lambda v: np.where(v.cumsum() == 9, np.nan, v), "must be finite and not negative"),
        ("ivar", lambda v: np.stack([v, v], axis=1), "one float32 a pixel"),
        ("flux", lambda v: v * np.nan, "'flux' of HDU 1 (COADD) is not a number in any pixel"),
        ("flux", lambda v: v.astype("S8"), "one float32 a pixel"),
        ("loglam", lambda v: v[::-1], "increase"),
        ("loglam", lambda v: v * 0 + 3.6, "increase"),
        ("loglam", lambda v: 10**v, "log10 of the wavelength"),
        ("loglam", lambda v: np.where(v == v[5], np.nan, v), "increase"),
        ("loglam", lambda v: np.where(v == v[-1], np.inf, v), "increase"),
        ("and_mask", lambda v: v.astype(np.float32), "one int32 a pixel"),
    ],
)
def test_bad_pixels(tmp_path, name, change, part):
    coadd = coadd_table()
    coadd[name] = change(coadd[name])
    assert_refused(write(tmp_path / "spec-a.fits", coadd), f"'{name}'", part)


def test_bad_metadata(tmp_path):
    assert_refused(write(tmp_path / "a.fits", coadd_table(0)), "HDU 1 (COADD) has no pixels")
    for n in (0, 2):
        row = {name: np.repeat(values, n) for name, values in specobj_row().items()}
        assert_refused(write(tmp_path / f"{n}.fits", row=row), f"HDU 2 (SPECOBJ) has {n} rows, not 1")
    assert_refused(write(tmp_path / "b.fits", row=specobj_row(PLATE="266")), "column 'PLATE'", "must hold one int")
    assert_refused(write(tmp_path / "c.fits", row=specobj_row(CLASS=1)), "column 'CLASS'", "must hold one str")


def test_absurd_sizes_cost_no_memory(spec_files, tmp_path):
    raw = spec_files["galaxy"].read_bytes()
    path = tmp_path / "spec-a.fits"
    for key in (b"TFIELDS =", b"NAXIS2  =", b"PCOUNT  ="):
        at = raw.index(key) + 10
        path.write_bytes(raw[:at] + b"99999999999999".rjust(20) + raw[at + 20 :])
        assert_refused(path, "HDU 1")


def test_truncation_at_any_byte(spec_files, tmp_path):
    raw = spec_files["galaxy"].read_bytes()
    with fits.open(spec_files["galaxy"]) as hdus:
        complete = hdus[3].fileinfo()["hdrLoc"]  # HDU 0 to 2 end here
    whole = read_spectrum(spec_files["galaxy"])
    rng = np.random.default_rng(0)
    path = tmp_path / "spec-a.fits"
    for size in {0, 1, 79, 80, *range(2880, len(raw), 2880), *rng.integers(0, len(raw), 200).tolist()}:
        path.write_bytes(raw[:size])
        if size >= complete and size % 2880 == 0:  # what is cut off holds nothing of ours
            np.testing.assert_array_equal(read_spectrum(path).flux, whole.flux)
        else:
            assert_refused(path)


def test_a_file_that_ends_inside_any_hdu_is_not_whole(spec_files, tmp_path):
    whole, path = spec_files["galaxy"].read_bytes(), tmp_path / "spec.fits"
    with fits.open(spec_files["galaxy"]) as hdus:
        ends = {hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in hdus}
    for size in range(2880, len(whole) + 1, 2880):
        path.write_bytes(whole[:size])
        if size in ends:
            check_whole(path)
            continue
        with pytest.raises(SpecdataError, match="truncated"):
            check_whole(path)
    assert len(whole) in ends


@pytest.mark.parametrize("kind", ["galaxy", "boss_galaxy"])
def test_damaged_bytes_give_a_spectrum_or_our_error(spec_files, tmp_path, kind):
    raw = spec_files[kind].read_bytes()
    with fits.open(spec_files[kind]) as hdus:
        places = [(hdu.fileinfo()["hdrLoc"], hdu.fileinfo()["datLoc"]) for hdu in hdus[:3]]
    places.append((0, len(raw)))
    rng = np.random.default_rng(0)
    path = tmp_path / "spec-a.fits"
    messages = []
    for trial in range(160):
        low, high = places[trial % len(places)]
        damaged = np.frombuffer(raw, np.uint8).copy()
        where = rng.integers(low, min(high, low + 2880 * (1 + trial % 3 * 20)), rng.integers(1, 6))
        # printable characters get further into a header than bytes that no header may hold
        damaged[where] = rng.integers(32, 127, len(where)) if trial % 2 else rng.integers(0, 256, len(where))
        path.write_bytes(damaged.tobytes())
        try:
            spectrum = read_spectrum(path)
        except SpecdataError as error:
            messages.append(str(error))
        else:
            assert spectrum.good.shape == spectrum.wavelength.shape
    assert messages
    assert not any("\n" in message for message in messages)
