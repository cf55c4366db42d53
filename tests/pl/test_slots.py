from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from leafletfa_scvi._colors import OKABE_ITO, program_colors
from leafletfa_scvi.pl._slots import text_on

# Machado et al. (2009), severity 1, linear RGB.
SEEN = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def distances(colors, others, vision="normal") -> np.ndarray:
    """Distances in OKLab (Ottosson 2020), as people with a color vision see them."""
    one, two = (_oklab(_linear(x) @ SEEN[vision].T) for x in (colors, others))
    return np.linalg.norm(one[:, None] - two, axis=2)


def _linear(colors) -> np.ndarray:
    rgb = np.array([to_rgb(c) for c in colors])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(rgb.clip(0, 1) @ np.transpose(to_lms)) @ np.transpose(to_lab)


@pytest.mark.parametrize("vision", SEEN)
@pytest.mark.parametrize(("number", "least"), [(10, 0.05), (20, 0.04)])
def test_colors_of_programs_are_told_apart(vision, number, least):
    """Tab20 has pairs at 0.007 (protanopia) and 0.018 (deuteranopia)."""
    colors = program_colors(number)
    assert distances(colors, colors, vision)[np.triu_indices(number, 1)].min() > least
    if vision == "normal":
        assert distances(colors, colors)[np.triu_indices(number, 1)].min() > 0.1


def test_colors_of_programs_are_not_those_of_groups():
    assert distances(program_colors(20), OKABE_ITO).min() > 0.06


def test_more_programs_have_distinct_colors_and_the_first_stay():
    assert len(set(program_colors(50))) == 50
    assert program_colors(20)[:7] == program_colors(7)


@pytest.mark.parametrize(
    ("shade", "alpha", "expected"),
    [("#440154", 1, "white"), ("#fde725", 1, "black"), ("#440154", 0.3, "black")],
)
def test_text_contrasts_with_what_is_below(shade, alpha, expected):
    assert text_on(shade, plt.figure().add_subplot(), alpha) == expected
    plt.close("all")
