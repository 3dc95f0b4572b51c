"""Which spectra enter a data set, and into which split: named cuts, equal-frequency sampling, object-safe splits."""

import hashlib

import numpy as np

from specdata.archive.catalogue import redshift_steps
from specdata.spectra.axis import SKY
from specdata.spectra.binning import SDSS_PIXELS, pixel_edges, pixels_between

SPLITS = ("train", "validation", "test")
ROUNDING = 1e-9  # of a wavelength that was kept as its logarithm
SAME_OBJECT = 2.0  # arcsec; SDSS fibres are 2 or 3 arcsec wide

CUTS = {
    "unreadable": "the file cannot be read as a spectrum",
    "class": "the pipeline's class is another one",
    "zwarning": "the redshift carries a warning",
    "z_range": "the redshift lies outside the range",
    "dered_i": "the dereddened i magnitude is known and too faint",
    "target": "the value that a config asks for is missing, or is outside the range of its answers",
    "coverage": "the wavelengths do not span the grid",
    "good_pixels": "too few good pixels inside the grid",
    "median_flux": "the median flux is not above zero",
    "duplicate": "a spectrum of the same name came before",
}
CUTS_OF_SKY = ("class", "zwarning", "z_range", "dered_i")  # which nothing else can fail


def reject(spectrum, cuts, start, stop, axis=SKY) -> tuple[str, str] | None:
    """Say which of the `Cuts` of a recipe a spectrum fails first.

    The pixels between `start` and `stop` count, in vacuum Angstrom or in the unit of another `axis`. Returns the name
    of the cut (a key of `CUTS`) and the reason with its value, or None if the spectrum passes.
    """
    if cuts.classes and spectrum.spectype not in cuts.classes:
        return "class", f"class {spectrum.spectype or 'unknown'}, not {' or '.join(cuts.classes)}"
    if spectrum.zwarning & ~cuts.zwarning_allowed:
        return "zwarning", f"zwarning {spectrum.zwarning}"
    if cuts.z_min is not None and not cuts.z_min < spectrum.z < cuts.z_max:
        return "z_range", f"z {spectrum.z:.5f} outside {cuts.z_min} to {cuts.z_max}"
    if cuts.dered_i_max is not None and spectrum.dered_i >= cuts.dered_i_max:  # NaN, unknown, passes
        return "dered_i", f"dered_i {spectrum.dered_i:.2f}, not below {cuts.dered_i_max}"
    loglam = spectrum.loglam
    first, last = 10.0 ** loglam[[0, -1]]
    if not axis.is_sky:  # whose points may be few and far apart, so that half of their distance counts
        left, right = pixel_edges(loglam)
        first, last = left[0], right[-1]
    if first > start * (1 + ROUNDING) or last < stop * (1 - ROUNDING):
        return "coverage", f"{axis.span(first, last)} does not span {axis.span(start, stop)}"
    # Out of the pixels that there should be: a stretch that is missing from the file is not good either.
    step = (loglam[-1] - loglam[0]) / max(1, len(loglam) - 1)
    if abs(step * SDSS_PIXELS - 1) > 1e-5:  # not the SDSS grid without a gap
        left, right = pixel_edges(loglam)
        share = np.clip(np.minimum(right, stop) - np.maximum(left, start), 0, None)[spectrum.good].sum() / (
            stop - start
        )
    else:
        expected = max(1.0, np.log10(stop / start) / step)
        share = min(1.0, np.count_nonzero(spectrum.good[pixels_between(loglam, start, stop)]) / expected)
    if share < cuts.good_fraction_min or share == 0:
        return "good_pixels", f"{share:.1%} of the pixels are good, not {cuts.good_fraction_min:.0%}"
    return None


def position_ids(names, ra, dec) -> list[str]:
    """Give all spectra of one object the same name, by position on the sky in degrees.

    Spectra closer than `SAME_OBJECT` belong together, and so does whatever such pairs chain together; one without a
    finite position is an object of its own. The name is ``J187.70593+12.39112``, where the object's first spectrum by
    (unique) name lies, or else that spectrum's name.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    ra, dec = np.radians(ra), np.radians(dec)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    x, y, z = np.cos(dec[known]) * np.cos(ra[known]), np.cos(dec[known]) * np.sin(ra[known]), np.sin(dec[known])
    chord = 2 * np.sin(np.radians(SAME_OBJECT / 3600) / 2)
    pairs = cKDTree(np.column_stack([x, y, z])).query_pairs(chord, output_type="ndarray")
    linked = (np.ones(len(pairs), bool), (known[pairs[:, 0]], known[pairs[:, 1]]))
    _, component = connected_components(coo_array(linked, shape=(len(names), len(names))), directed=False)
    first = {}
    for index in sorted(range(len(names)), key=names.__getitem__):
        first.setdefault(component[index], index)
    labels = []
    for index in (first[c] for c in component):
        # Rounded before it is wrapped: 359.999999 is 0, and there is no negative zero.
        east, north = np.round(np.degrees(ra[index]), 5) % 360, np.round(np.degrees(dec[index]), 5) + 0.0
        at = f"J{east:09.5f}{north:+09.5f}"
        labels.append(at if np.isfinite(ra[index] + dec[index]) else names[index])
    return labels


def hash_order(objects, seed) -> np.ndarray:
    """Rank objects by a hash that depends on nothing but their name and the seed; uint64 array of shape (n,)."""
    digest = [hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8] for name in objects]
    return np.frombuffer(b"".join(digest), dtype=">u8").astype(np.uint64)


def equal_frequency(z, objects, *, size, redshift_bins, z_min, z_max, seed) -> tuple[np.ndarray, list[dict]]:
    """Draw the same number of spectra from each of equally wide redshift bins.

    `size` is the number asked for over all bins, of which each takes its spectra in the order of a hash of their
    `objects`. A bin that runs short gives what it has; no other bin makes up for it.

    Returns
    -------
    chosen : ndarray of int
        Indices of the chosen spectra, increasing.
    table : list of dict
        For each bin `z_min`, `z_max`, and the numbers `asked`, `available` and `taken`.
    """
    z = np.asarray(z, dtype=np.float64)
    order = np.lexsort([z, hash_order(objects, seed)])
    edges = np.linspace(z_min, z_max, redshift_bins + 1)
    bin_ = np.clip(np.searchsorted(edges, z, side="right") - 1, 0, redshift_bins - 1)
    chosen, table = [], []
    for i, (low, high, asked) in enumerate(redshift_steps(size, redshift_bins, z_min, z_max)):
        members = order[bin_[order] == i]
        chosen.append(members[:asked])
        row = {"asked": asked, "available": len(members), "taken": len(chosen[-1])}
        table.append({"z_min": low, "z_max": high, **row})
    return np.sort(np.concatenate(chosen)), table


def split_sizes(total, train, validation) -> dict[str, int]:
    """Sizes of the three splits for `total` rows: as asked, the rest test, unless rows are short.

    Where train and validation leave no row for test, all three shrink in proportion, test being as large as validation.
    """
    needed = train + 2 * validation
    if total <= train + validation:
        train, validation = train * total // needed, validation * total // needed
    return {"train": train, "validation": validation, "test": total - train - validation}


def assign_splits(z, objects, *, train, validation, z_min, z_max, redshift_bins, seed) -> np.ndarray:
    """Put each spectrum into a split so that no two splits share an object and all cover the same redshifts.

    Objects are ordered by their share of the way through their own redshift bin (in hash order), which spreads every
    bin evenly, and the splits are filled in that order. An object whose spectra do not all fit goes to the next split.
    Returns ``train``, ``validation`` or ``test`` for each.
    """
    z, objects = np.asarray(z, dtype=np.float64), np.asarray(objects)
    unique, inverse = np.unique(objects, return_inverse=True)
    lowest = np.full(len(unique), np.inf)  # an object's spectra may differ in redshift
    np.minimum.at(lowest, inverse, z)
    members = np.bincount(inverse, minlength=len(unique))
    hashes = hash_order(unique, f"split:{seed}")
    edges = np.linspace(z_min, z_max, redshift_bins + 1)
    bin_ = np.searchsorted(edges, lowest, side="right")
    share = np.empty(len(unique))
    for i in np.unique(bin_):
        here = np.flatnonzero(bin_ == i)
        share[here[np.argsort(hashes[here])]] = (np.arange(len(here)) + 0.5) / len(here)
    room = split_sizes(len(z), train, validation)
    split = np.empty(len(unique), dtype="U10")
    for i in np.lexsort([hashes, share]):
        split[i] = next((name for name in ("train", "validation") if members[i] <= room[name]), "test")
        room[split[i]] -= members[i]
    return split[inverse]
