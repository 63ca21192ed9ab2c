import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.methods import PRECISIONS
from quantlab.reporting.charts import style

ROOT = Path(__file__).resolve().parents[3]
BACKGROUNDS = ("#ffffff", "#0b0f19", "#27272a")
NAMES = tuple(style._SCALE)
FOUR_BITS = ("nf4", "fp4", "rtn-4", "gptq-4", "awq-4", "q4_k_m")
TICKED_TOGETHER = ("fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4")
# Machado, Oliveira and Fernandes 2009, full severity, for linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Oklab, Björn Ottosson 2020.
TO_LMS = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
          [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
TO_LAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
          [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip


def seen(colour: str, sight: str) -> np.ndarray:
    light = np.clip(np.array(SIGHT[sight]) @ style.linear(colour), 0, 1)
    return np.array(TO_LAB) @ np.cbrt(np.array(TO_LMS) @ light)


def nearest(names: tuple[str, ...], sight: str) -> float:
    colours = [seen(style.colour(name), sight) for name in names]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_stay_apart_also_for_the_colour_blind(sight: str):
    assert nearest(TICKED_TOGETHER, sight) >= 0.09
    assert nearest(FOUR_BITS, sight) >= 0.04
    assert nearest(NAMES, sight) >= 0.02


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """The difference of two colours in CIELAB by Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    a1, a2 = (a * (1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25**7))) for a in (a1, a2))
    c1, c2, h1, h2 = np.hypot(a1, b1), np.hypot(a2, b2), np.arctan2(b1, a1), np.arctan2(b2, a2)
    turn = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    light, chroma, hue = (l1 + l2) / 2, (c1 + c2) / 2, h1 + turn / 2
    t = 1 - 0.17 * np.cos(hue - np.radians(30)) + 0.24 * np.cos(2 * hue)
    t += 0.32 * np.cos(3 * hue + np.radians(6)) - 0.20 * np.cos(4 * hue - np.radians(63))
    blue = np.radians(60) * np.exp(-((((np.degrees(hue) % 360) - 275) / 25) ** 2))
    by_light = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    by_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    by_hue = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * chroma * t)
    rotated = -np.sin(blue) * 2 * np.sqrt(chroma**7 / (chroma**7 + 25**7))
    return float(np.sqrt(by_light**2 + by_chroma**2 + by_hue**2 + rotated * by_chroma * by_hue))


def cielab(colour: str) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ style.linear(colour) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_difference_of_colours_is_the_published_one():
    pairs = (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.0, 2.0), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    )
    for one, other, published in pairs:
        assert ciede2000(np.array(one), np.array(other)) == pytest.approx(published, abs=1e-4)


def test_any_two_precisions_differ_at_a_glance():
    differences = {
        (one, other): ciede2000(cielab(style.colour(one)), cielab(style.colour(other)))
        for one, other in itertools.combinations(NAMES, 2)
    }
    assert min(differences.values()) >= 9, min(differences, key=differences.get)


def test_contrast_is_the_standards():
    assert style.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert style.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@given(st.one_of(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=()))))
def test_every_name_has_a_colour_that_shows_on_light_and_dark(name: str):
    assert min(style.contrast(style.colour(name), background) for background in BACKGROUNDS) >= 3
    assert style.look(name) == style.look(name)


def test_grey_text_is_as_readable_on_light_as_on_dark():
    assert min(style.contrast(style.GREY, background) for background in BACKGROUNDS) >= 3.7


def test_no_two_precisions_share_a_symbol_or_its_character():
    looks = [style.look(name) for name in NAMES]
    assert len({it.symbol for it in looks}) == len({it.glyph for it in looks}) == len(NAMES)


def test_every_precision_of_the_methods_has_a_place_of_its_own_or_tells_its_bits():
    assert [name for name in PRECISIONS if name not in NAMES and not style._BITS.match(name)] == []


def test_plotly_knows_every_symbol():
    from plotly.validator_cache import ValidatorCache

    known = ValidatorCache.get_validator("scatter.marker", "symbol").values
    assert {style.look(name).symbol for name in (*NAMES, *map(str, range(60)))} <= set(known)


def test_a_new_precision_lies_among_those_of_its_bits():
    scale = ("fp32", "fp16", "bf16", "int8", "int8-plain", "rtn-8", "nf4", "nf4-dq", "fp4", "fp4-dq", "rtn-4", "rtn-3",
             "rtn-2")  # fmt: skip

    def place(name: str) -> int:
        colours = [seen(style.colour(other), "normal") for other in scale]
        return int(np.argmin([np.linalg.norm(seen(style.colour(name), "normal") - other) for other in colours]))

    eight, four, two = place("fp8"), place("gptq-4-g32"), place("iq2_xs")
    assert 2 <= eight <= 6 <= four <= 10 <= two
    assert len({style.colour(name) for name in ("gptq-4", "gptq-4-g32", "gptq-4-g64", "awq-4-g32")}) == 4
    assert style.look("gptq-4-g32").symbol not in {style.look(name).symbol for name in NAMES}


def test_a_published_name_does_not_lend_its_numbers_as_bits():
    names = ("TinyLlama-1.1B-GPTQ", "Qwen2.5-7B-Instruct-AWQ", "model-8x22b")
    assert not any(map(style._BITS.match, names)) and style._BITS.match("gptq-4-g128")[1] == "4"


def test_labels_are_no_markup():
    assert "<img" not in style.label("<img src=x>") and "<b>" not in style.label("x", "<b>1</b>")


def test_a_long_name_keeps_its_end():
    long, other = (style.label(f"Qwen2.5-0.5B-Instruct-{method}") for method in ("GPTQ-Int4", "AWQ-Int4"))
    assert "…" in long and long.endswith("TQ-Int4") and long != other and len(long) < 70


def test_a_colour_and_a_number_are_had_without_plotly():
    ask = """import sys
from quantlab.reporting import text
from quantlab.reporting.charts import difference_table, style
print('plotly' in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("kind", ["int8", "int4", "int2", "q8_0", "q4_0"])
def test_a_column_with_another_cache_has_a_colour_of_its_own(kind: str, sight: str):
    """Beside all that is ticked by default, and beside the same cache behind each of these."""
    assert nearest((*TICKED_TOGETHER, *(f"{name}+kv-{kind}" for name in TICKED_TOGETHER)), sight) >= 0.045


@pytest.mark.parametrize("name", TICKED_TOGETHER)
def test_the_types_of_a_cache_part_too(name: str):
    looks = [style.look(name), *(style.look(f"{name}+kv-{kind}") for kind in ("int8", "int4", "int2"))]
    assert len({look.colour for look in looks}) == len({look.glyph for look in looks}) == 4


def test_every_colour_of_a_cache_shows_on_light_and_dark():
    for found in style._KV_COLOURS:
        assert min(style.contrast(found, background) for background in BACKGROUNDS) >= 3
