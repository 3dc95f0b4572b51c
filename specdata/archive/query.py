"""The SQL of a selection: galaxies of SDSS with their photometry, one query for each redshift bin.

A query orders the galaxies of its bin by the `shuffle` of the catalogue and gives the first of them, so an answer has a
few hundred rows whatever the bin holds, and the choice is random, reproducible and blind to the place on the sky.
"""

from typing import NamedTuple

from specdata.archive.catalogue import COLUMNS, MULTIPLIERS, PRIME, redshift_steps, seed_term
from specdata.archive.sas import check_release
from specdata.errors import SpecdataError
from specdata.spectra.specfile import BOSS_GALAXY

RESERVE = 0.25  # share of rows beyond those asked for, for galaxies whose file cannot be had or does not pass the cuts
RESERVE_MIN = 20
ROW_LIMIT = 500_000  # SkyServer's, for one query
LITE_MB = 0.2  # mean of 794 real lite files


class BinQuery(NamedTuple):
    """The query of one redshift bin."""

    z_min: float
    z_max: float
    asked: int  # galaxies that the data set wants
    rows: int  # galaxies that the query asks for, with the reserve
    sql: str


def bin_queries(cuts, sample, *, reserve=RESERVE):
    """Write the SQL of a selection.

    BOSS galaxy targets get the redshift and the warning of the fit without quasar templates (`z_noqso`,
    `zWarning_noqso`), by the same rule as `read_spectrum`.

    Parameters
    ----------
    cuts : specdata.dataset.recipe.Cuts
    sample : specdata.dataset.recipe.Sample
    reserve : float
        Share of rows beyond those asked for.

    Returns
    -------
    list of BinQuery

    Raises
    ------
    SpecdataError
        If a bin needs more rows than the server gives.
    """
    total = " + ".join(f"CAST(s.{name} AS bigint) * {factor}" for name, factor in MULTIPLIERS.items())
    noqso = f"s.boss_target1 & {BOSS_GALAXY} > 0 AND s.class_noqso <> ''"
    # Without a magnitude limit a galaxy without photometry is one too.
    join = "LEFT JOIN" if cuts.dered_i_max is None else "JOIN"
    bright = "" if cuts.dered_i_max is None else f" AND p.dered_i > 0 AND p.dered_i < {cuts.dered_i_max:.10g}"
    good = "= 0" if not cuts.zwarning_allowed else f"| {cuts.zwarning_allowed} = {cuts.zwarning_allowed}"
    galaxies = (
        "(SELECT s.plate, s.mjd, s.fiberID AS fiberid, s.run2d, "
        f"CASE WHEN {noqso} THEN s.z_noqso ELSE s.z END AS z, s.specObjID AS specobjid, s.ra, s.dec, "
        f"CASE WHEN {noqso} THEN s.zWarning_noqso ELSE s.zWarning END AS zwarning, "
        "s.subClass AS subclass, s.snMedian AS snmedian, p.dered_i, "
        f"({total} + {seed_term(sample.seed)}) % {PRIME} AS x "
        f"FROM SpecObj AS s {join} PhotoObj AS p ON p.objID = s.bestObjID "
        f"WHERE s.class = '{cuts.spectype}' AND s.sciencePrimary = 1{bright}) AS g"
    )
    queries = []
    for low, high, asked in redshift_steps(sample.size, sample.redshift_bins, cuts.z_min, cuts.z_max):
        rows = asked + max(RESERVE_MIN, int(asked * reserve))
        if rows > ROW_LIMIT:
            raise SpecdataError(
                f"sample.redshift_bins = {sample.redshift_bins}: one query would ask for {rows:,} rows, and the server "
                f"gives {ROW_LIMIT:,}; take more bins"
            )
        above = ">=" if queries else ">"  # the ends of the whole range do not belong to it
        queries.append(
            BinQuery(low, high, asked, rows, (
                f"SELECT TOP {rows} {', '.join(COLUMNS)}, COUNT(*) OVER () AS available FROM {galaxies} "
                f"WHERE z {above} {low:.10g} AND z < {high:.10g} AND zwarning {good} "
                f"ORDER BY x * x % {PRIME} * x % {PRIME}, plate, mjd, fiberid"
            ))
        )  # fmt: skip
    return queries


def dry_run(queries, data_release):
    """Say what a selection would ask and download: the SQL, the rows and the size; text of several lines."""
    check_release(data_release)
    asked, rows = sum(query.asked for query in queries), sum(query.rows for query in queries)
    size = asked * LITE_MB
    size = f"{size:.0f} MB" if size < 1000 else f"{size / 1000:.1f} GB"
    lines = [f"-- {query.z_min:.4g} to {query.z_max:.4g}: {query.asked} galaxies\n{query.sql}\n" for query in queries]
    return "\n".join(
        [
            *lines,
            f"{len(queries)} queries to DR{data_release}, at most {rows:,} rows: {asked:,} galaxies and a reserve",
            f"{asked:,} lite spectra to download, about {size} at {LITE_MB:g} MB each",
        ]
    )
