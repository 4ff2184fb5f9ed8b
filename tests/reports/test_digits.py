import pytest

from drawbench.interfaces import Interval
from drawbench.reports.digits import bounds, counted, decimals, listed, number, p_value, plain, signed


def around(value, width):
    return Interval(value - width, value + width, "t", "prompts")


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        (0.3123, 0.0061, "0.3123 [0.3062, 0.3184]"),
        (24.137, 0.81, "24.14 [23.33, 24.95]"),
        (0.00001234, 0.0000021, "0.0000123 [0.0000102, 0.0000144]"),
        (1234.5, 60.0, "1234 [1174, 1294]"),
        (-0.5, 0.25, "−0.50 [−0.75, −0.25]"),
    ],
)
def test_digits_follow_the_interval(value, width, text):
    interval = around(value, width)
    places = decimals([interval])
    if places > 6:
        assert "e-" in bounds(interval, places).replace("−", "-")
    else:
        assert f"{number(value, places)} {bounds(interval, places)}" == text


def test_a_tiny_difference_never_prints_as_nothing():
    interval = around(3e-9, 1e-9)
    assert signed(3e-9, decimals([interval])) == "+3.0e-09"
    assert bounds(interval, decimals([interval])) == "[2.0e-09, 4.0e-09]"


def test_what_rounds_to_nothing_has_no_sign():
    assert number(-0.00001, 3) == "0.000"
    assert signed(0.00001, 3) == "0.000"
    assert number(0.0, 9) == "0.000"


def test_p_never_says_zero():
    assert [p_value(p) for p in (None, 0.0001, 0.0204, 1.0)] == ["", "< 0.001", "0.020", "1.000"]


def test_words_for_numbers_and_lists():
    assert [counted(1, "image"), counted(30_000, "image")] == ["1 image", "30,000 images"]
    assert [listed(["a"]), listed(["a", "b"]), listed("abc", "or")] == ["a", "a and b", "a, b or c"]
    assert [plain(0.31234), plain(-2.0), plain(512.0)] == ["0.3123", "−2", "512"]
