"""Places: blurring, distances and the H3 cells that a place or a circle lies in; pure."""

from enum import StrEnum
from math import asin, ceil, cos, pi, radians, sin, sqrt
from typing import Final

import h3  # type: ignore[import-untyped] # it has no annotations
import h3.api.basic_int as numbered  # type: ignore[import-untyped] # it has no annotations
import numpy as np
import numpy.typing as npt

EARTH_RADIUS_KM: Final = 6371.0088
BLUR_RESOLUTION: Final = 7
ROUGH_RESOLUTION: Final = 5
RESOLUTIONS: Final = range(2, 8)
MOST_CELLS: Final = 100
FINE_BELOW_KM: Final = 10

# A cell's farthest corner lies within 1.101 average edge lengths of its centre (computed for
# all cells of the resolutions 2 and 3, and for the neighbourhoods of all pentagons and 40,000
# others of 4 to 7); the rest is margin, which costs a few cells and misses none.
_REACH_IN_EDGES: Final = 1.15
_REACH_KM: Final = {
    resolution: _REACH_IN_EDGES * h3.average_hexagon_edge_length(resolution, unit="km")
    for resolution in RESOLUTIONS
}
# A ring's nearest cells are at least this much farther than the ring's before, but for the odd one.
_RING_KM: Final = {
    resolution: 1.3 * h3.average_hexagon_edge_length(resolution, unit="km")
    for resolution in RESOLUTIONS
}
_AREA_KM2: Final = {
    resolution: h3.average_hexagon_area(resolution, unit="km^2") for resolution in RESOLUTIONS
}

Floats = npt.NDArray[np.float64]


class Precision(StrEnum):
    """How exactly a listing's place may be shown."""

    CELL = "cell"
    GROUP = "group"
    NONE = "none"
    EXACT = "exact"


def blur(lat: float, lon: float, precision: Precision) -> tuple[float, float] | None:
    """Return what may be kept of a position in degrees; None where nothing may.

    A fixed cell, not random noise, since noise averages out. `group` is coarser than `cell`,
    for whoever wants only the group's surroundings to be known.
    """
    if precision is Precision.NONE:
        return None
    if precision is Precision.EXACT:
        return round(lat, 6), round(lon, 6)
    resolution = ROUGH_RESOLUTION if precision is Precision.GROUP else BLUR_RESOLUTION
    centre_lat, centre_lon = h3.cell_to_latlng(h3.latlng_to_cell(lat, lon, resolution))
    return round(centre_lat, 6), round(centre_lon, 6)


def haversine_km(lat: float, lon: float, lats: Floats, lons: Floats) -> Floats:
    """Return the great-circle distances in km from one place to many, degrees given."""
    phi, phis = radians(lat), np.radians(lats)
    half = np.sin((phis - phi) / 2) ** 2
    half += cos(phi) * np.cos(phis) * np.sin(np.radians(lons - lon) / 2) ** 2
    distances: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
    return distances


def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Return the great-circle distance in km between two places, degrees given."""
    phi, other_phi = radians(lat), radians(other_lat)
    half = sin((other_phi - phi) / 2) ** 2
    half += cos(phi) * cos(other_phi) * sin(radians(other_lon - lon) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(min(half, 1.0)))


def rounded_km(distance: float) -> float:
    """Round a distance as it is shown: to 0.1 km below 10 km, else to 1 km."""
    return round(distance, 1) if distance < FINE_BELOW_KM else float(round(distance))


def cells_of(lat: float, lon: float) -> list[str]:
    """Return the H3 cells that a place lies in, of each resolution from 2 to 7.

    Each is computed from the place: an H3 parent need not contain all of its child.
    """
    return [h3.latlng_to_cell(lat, lon, resolution) for resolution in RESOLUTIONS]


def circle_cells(lat: float, lon: float, radius_km: float) -> tuple[int, list[str]]:
    """Return (resolution, cells) that together cover a circle, every touched cell included.

    The resolution is the finest at which about 100 cells do; cells just outside may be among
    them. The cells that touch a circle hang together, so all are seen where the outermost ring
    around the middle has none.
    """
    resolution = _fitting(radius_km)
    limit_km = radius_km + _REACH_KM[resolution]
    middle = numbered.latlng_to_cell(lat, lon, resolution)
    rings = ceil(limit_km / _RING_KM[resolution])
    while True:
        disk = numbered.grid_disk(middle, rings)
        lats, lons = np.array([numbered.cell_to_latlng(cell) for cell in disk]).T
        inside = (haversine_km(lat, lon, lats, lons) <= limit_km).tolist()
        cells = [cell for cell, near in zip(disk, inside, strict=True) if near]
        if set(cells).isdisjoint(numbered.grid_ring(middle, rings)):
            return resolution, [f"{cell:x}" for cell in cells]
        rings += 1


def _fitting(radius_km: float) -> int:
    for resolution in reversed(RESOLUTIONS):
        area_km2 = pi * (radius_km + _REACH_KM[resolution]) ** 2
        if area_km2 <= MOST_CELLS * _AREA_KM2[resolution]:
            return resolution
    return RESOLUTIONS[0]
