import h3  # type: ignore[import-untyped] # it has no annotations
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from marketplace.places import (
    BLUR_RESOLUTION,
    RESOLUTIONS,
    Precision,
    blur,
    cells_of,
    circle_cells,
    distance_km,
    haversine_km,
    rounded_km,
)

LATS = st.floats(-90, 90)
LONS = st.floats(-180, 180)
RADII = st.floats(0.1, 1000)


@given(LATS, LONS, RADII, st.floats(0, 1), st.floats(0, 360))
def test_every_place_in_a_circle_lies_in_one_of_its_cells(
    lat: float, lon: float, radius_km: float, share: float, bearing: float
) -> None:
    there = _travelled(lat, lon, radius_km * share, bearing)
    assume(distance_km(lat, lon, *there) <= radius_km)
    resolution, cells = circle_cells(lat, lon, radius_km)
    assert h3.latlng_to_cell(*there, resolution) in cells


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (90.0, 0.0),
        (-90.0, 12.0),
        (89.95, 100.0),
        (0.0, 180.0),
        (0.0, -180.0),
        (-16.5, 179.99),
        (10.536, 88.0),
        (58.28, 10.0),
    ],
)
@pytest.mark.parametrize("radius_km", [0.1, 3.0, 50.0, 400.0, 1000.0])
def test_the_cells_of_a_circle_cover_it_at_poles_and_antimeridian(
    lat: float, lon: float, radius_km: float
) -> None:
    resolution, cells = circle_cells(lat, lon, radius_km)
    for share in (0.2, 0.7, 0.95, 0.999):
        for bearing in range(0, 360, 5):
            there = _travelled(lat, lon, radius_km * share, bearing)
            assert h3.latlng_to_cell(*there, resolution) in cells


@pytest.mark.parametrize("pentagon", h3.get_pentagons(4))
def test_circles_at_the_twelve_pentagons_are_covered(pentagon: str) -> None:
    lat, lon = h3.cell_to_latlng(pentagon)
    resolution, cells = circle_cells(lat, lon, 60.0)
    for share in (0.3, 0.99):
        for bearing in range(0, 360, 3):
            there = _travelled(lat, lon, 60.0 * share, bearing)
            assert h3.latlng_to_cell(*there, resolution) in cells


@given(LATS, LONS, RADII)
def test_a_circle_takes_about_a_hundred_cells_at_most(
    lat: float, lon: float, radius_km: float
) -> None:
    resolution, cells = circle_cells(lat, lon, radius_km)
    assert resolution in RESOLUTIONS
    assert 1 <= len(cells) <= 200
    assert len(set(cells)) == len(cells)


def test_a_small_circle_is_covered_more_finely_than_a_large_one() -> None:
    fine, coarse = circle_cells(48.2, 16.37, 1.0)[0], circle_cells(48.2, 16.37, 900.0)[0]
    assert (fine, coarse) == (7, 2)


@given(LATS, LONS)
def test_all_doors_of_a_cell_are_blurred_to_one_place(lat: float, lon: float) -> None:
    cell = h3.latlng_to_cell(lat, lon, BLUR_RESOLUTION)
    corners = np.array(h3.cell_to_boundary(cell))
    middle = np.array(h3.cell_to_latlng(cell))
    assume(np.ptp(corners[:, 1]) < 180)  # corners either side of the antimeridian have no mean
    assume(abs(lat) < 89)
    doors = (middle + (corners - middle) * 0.8).tolist()
    doors = [(x, y) for x, y in doors if h3.latlng_to_cell(x, y, BLUR_RESOLUTION) == cell]
    assume(doors)
    assert len({blur(x, y, Precision.CELL) for x, y in doors}) == 1


@given(LATS, LONS)
def test_a_blurred_place_is_in_its_cell_and_stays_where_it_is(lat: float, lon: float) -> None:
    place = blur(lat, lon, Precision.CELL)
    assert place is not None
    assert cells_of(*place)[-1] == cells_of(lat, lon)[-1]
    assert blur(*place, Precision.CELL) == place


def test_the_precision_decides_what_is_kept() -> None:
    door = (48.20849, 16.37208)
    cell, group = blur(*door, Precision.CELL), blur(*door, Precision.GROUP)
    assert cell is not None
    assert group is not None
    assert 0 < distance_km(*door, *cell) < 1.6
    assert 0 < distance_km(*door, *group) < 11
    assert group != cell
    assert blur(*door, Precision.EXACT) == door
    assert blur(*door, Precision.NONE) is None


def test_haversine_knows_a_distance_measured_elsewhere() -> None:
    # Vienna, Stephansplatz to Paris, Notre-Dame, about 1,034 km on a sphere.
    [km] = haversine_km(48.2085, 16.3730, np.array([48.8530]), np.array([2.3499]))
    assert km == pytest.approx(1033.6, abs=1.5)


@given(LATS, LONS, LATS, LONS)
def test_one_distance_and_many_agree(lat: float, lon: float, lat2: float, lon2: float) -> None:
    [km] = haversine_km(lat, lon, np.array([lat2]), np.array([lon2]))
    assert km == pytest.approx(distance_km(lat, lon, lat2, lon2), abs=1e-3)


def test_shown_distances_are_rounded() -> None:
    assert rounded_km(3.1415) == 3.1
    assert rounded_km(0.04) == 0.0
    assert rounded_km(12.6) == 13.0


def _travelled(lat: float, lon: float, km: float, bearing: float) -> tuple[float, float]:
    """Return where one is after `km` on a great circle."""
    phi, lam, theta, delta = *np.radians([lat, lon, bearing]), km / 6371.0088
    sine = np.sin(phi) * np.cos(delta) + np.cos(phi) * np.sin(delta) * np.cos(theta)
    phi2 = np.arcsin(np.clip(sine, -1, 1))
    lam2 = lam + np.arctan2(
        np.sin(theta) * np.sin(delta) * np.cos(phi),
        np.cos(delta) - np.sin(phi) * np.sin(phi2),
    )
    lon2 = (np.degrees(lam2) + 540) % 360 - 180
    return float(np.degrees(phi2)), float(lon2)
