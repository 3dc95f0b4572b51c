"""Where the Science Archive Server (SAS) of SDSS keeps a spectrum; a cache has the same layout.

The rules are those of `spec-lite` in the official path templates of the package sdss-tree, which the tests hold these
against, with the choice of the folder by `run2d` as sdss-access makes it.
"""

import os
import re
from pathlib import Path

from specdata.errors import SpecdataError

SAS_URL = "https://data.sdss.org/sas"
RELEASES = range(8, 18)
_SDSS_RUNS = {"26", "103", "104"}  # SDSS-I/II, SEGUE-2 and the rest of SDSS-I/II; a BOSS or eBOSS run is v5_13_0
_RUN = re.compile(r"26|103|104|v\d{1,3}_\d{1,3}_\d{1,3}")


def check_release(data_release) -> None:
    """Refuse a release before DR8, which has other files, and from DR18 on, which names spectra in another way."""
    if not isinstance(data_release, int) or data_release not in RELEASES:
        raise SpecdataError(
            f"data_release = {data_release!r}: give a whole number from 8 to 17, because the archive names spectra by "
            "plate, mjd and fibre only there (from DR18 on by field and catalogue number)"
        )


def check_run2d(run2d) -> str | None:
    """Say what is wrong with the version of a reduction, or return None."""
    if isinstance(run2d, str) and _RUN.fullmatch(run2d):
        return None
    return "give 26, 103 or 104 for SDSS-I/II and a version such as v5_13_0 for BOSS and eBOSS"


def lite_path(data_release, plate, mjd, fiberid, run2d) -> str:
    """Path of a lite spectrum below the root of the SAS, and below that of a cache.

    For example ``dr16/sdss/spectro/redux/26/spectra/lite/0266/spec-0266-51602-0001.fits``. Spectra of BOSS, whose
    `run2d` is a version such as ``v5_13_0``, are below ``boss`` up to DR12 and below ``eboss`` from DR13 on. Plates
    from 10000 on have five digits.

    Raises
    ------
    SpecdataError
        For another release than 8 to 17, or another `run2d` than 26, 103, 104 or a version.
    """
    check_release(data_release)
    if problem := check_run2d(run2d):
        raise SpecdataError(f"run2d = {run2d!r}: {problem}")
    if run2d in _SDSS_RUNS:
        tree = "sdss"
    elif data_release < 9:
        raise SpecdataError(f"run2d = {run2d!r}: DR8 has no BOSS spectra; give data_release 9 or later")
    else:
        tree = "boss" if data_release < 13 else "eboss"
    name = f"spec-{plate:04d}-{mjd}-{fiberid:04d}.fits"
    return f"dr{data_release}/{tree}/spectro/redux/{run2d}/spectra/lite/{plate:04d}/{name}"


def cache_folder(cache=None) -> Path:
    """Folder of the cache: the one given, or `$SAS_BASE_DIR`, where SDSS software keeps its copy, or `sas`."""
    return Path(cache or os.environ.get("SAS_BASE_DIR") or "sas").expanduser()
