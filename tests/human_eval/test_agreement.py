import ast
import csv
import json
import subprocess
import sys
from itertools import permutations

import evalica
import numpy as np
import pandas as pd
import pytest

from drawbench.errors import UserError
from drawbench.human_eval.agreement import fleiss_kappa, krippendorff_alpha, rating_table, resampled_alphas

NAN = float("nan")


def ratings(seed=0, raters=4, items=30, missing=0.2):
    """Ratings of items of unlike quality on a scale of 1, 2, 3, 5, some missing."""
    rng = np.random.default_rng(seed)
    felt = rng.normal(0, 1, items) + rng.normal(0, 0.8, (raters, items))
    table = np.array([1.0, 2.0, 3.0, 5.0])[np.digitize(felt, [-1, 0, 1])]
    table[rng.random(table.shape) < missing] = NAN
    return table


def alpha_in_pairs(table, distance):
    """Krippendorff (2011): 1 less observed over expected disagreement, over all ordered pairs of ratings."""
    units = [[v for v in column if not np.isnan(v)] for column in table.T]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [v for unit in units for v in unit]
    values = sorted(set(pooled))
    n_of = {v: pooled.count(v) for v in values}

    def apart(a, b):
        if distance == "nominal":
            return float(a != b)
        low, high = sorted((a, b))
        between = sum(n_of[v] for v in values if low <= v <= high)
        return (between - (n_of[low] + n_of[high]) / 2) ** 2

    observed = sum(sum(apart(a, b) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in units) / len(pooled)
    expected = sum(apart(a, b) for a, b in permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    return 1 - observed / expected


def kappa_by_the_book(table):
    """Fleiss 1971, in loops."""
    raters = len(table)
    values = np.unique(table)
    agreed = [
        sum((column == v).sum() * ((column == v).sum() - 1) for v in values) / raters / (raters - 1)
        for column in table.T
    ]
    chance = sum((table == v).mean() ** 2 for v in values)
    return (np.mean(agreed) - chance) / (1 - chance)


@pytest.mark.parametrize("distance", ["nominal", "ordinal"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_its_definition_over_pairs(seed, distance):
    table = ratings(seed)
    assert krippendorff_alpha(table, distance, resamples=2).value == pytest.approx(alpha_in_pairs(table, distance))


@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_that_of_its_definition(seed):
    table = ratings(seed, missing=0)
    assert fleiss_kappa(table, resamples=2).value == pytest.approx(kappa_by_the_book(table))


@pytest.mark.parametrize("distance", ["nominal", "ordinal"])
def test_a_resample_has_the_alpha_that_evalica_gives_its_items(distance):
    table = ratings(1)
    table = table[:, (~np.isnan(table)).sum(0) > 1]
    counts = (table[:, :, None] == np.array([1.0, 2.0, 3.0, 5.0])).sum(0)
    drawn = np.random.default_rng(0).multinomial(table.shape[1], np.full(table.shape[1], 1 / table.shape[1]), size=20)
    expected = [
        evalica.alpha(pd.DataFrame(np.repeat(table, times, axis=1)), distance=distance).alpha for times in drawn
    ]
    assert resampled_alphas(counts, drawn, distance).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("coefficient", [fleiss_kappa, lambda *a, **k: krippendorff_alpha(*a[:1], "ordinal", **k)])
def test_the_interval_is_the_seeds_and_over_items(coefficient):
    table = ratings(2, missing=0)
    found = coefficient(table, seed=3)
    assert coefficient(table, seed=3) == found
    assert coefficient(table, seed=4).interval[:2] != found.interval[:2]
    assert found.interval.low < found.value < found.interval.high
    assert found.interval.method == "percentile bootstrap over items, 1000 resamples, seed 3"
    assert (found.interval.over, found.n, found.n_items, found.n_raters) == ("items", 120, 30, 4)


def test_the_interval_covers_the_agreement_of_many_items():
    """Ratings are the item's own value, or one at random: alpha and kappa are the square of the share that is not random."""
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(200):
        own, noise = rng.integers(0, 3, 60), rng.integers(0, 3, (3, 60))
        table = np.where(rng.random((3, 60)) < 0.7, own, noise).astype(float)
        for i, found in enumerate((fleiss_kappa(table, resamples=300), krippendorff_alpha(table, "nominal", 0, 300))):
            hits[i] += found.interval.low <= 0.49 <= found.interval.high
    assert (hits / 200 >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 200)).all()


def test_perfect_agreement_is_1_and_the_raters_names_and_the_items_order_do_not_matter():
    table = np.tile(np.array([1.0, 2.0, 2.0, 3.0]), (3, 1))
    assert fleiss_kappa(table).value == krippendorff_alpha(table, "ordinal").value == 1
    table = ratings(3)
    shuffled = np.random.default_rng(0).permutation(table, axis=1)[::-1]
    assert krippendorff_alpha(shuffled, "ordinal").value == pytest.approx(krippendorff_alpha(table, "ordinal").value)


@pytest.mark.parametrize("coefficient", [fleiss_kappa, lambda table: krippendorff_alpha(table, "nominal")])
def test_what_is_undefined_is_none_with_the_reason(coefficient):
    found = coefficient(np.full((3, 5), 2.0))
    assert (found.value, found.interval) == (None, None)
    assert found.reason == "all ratings are equal: agreement beyond chance is undefined"
    assert (found.n, found.n_items, found.n_raters) == (15, 5, 3)
    lonely = coefficient(np.array([[1.0, NAN], [NAN, 2.0]]))
    assert (lonely.value, lonely.reason) == (None, "no item is rated by two raters")
    single = coefficient(np.array([[1.0], [2.0]]))
    assert (single.interval, single.reason) == (None, "only one item is rated twice: an interval over items needs two")


def test_where_many_resamples_are_undefined_there_is_no_interval():
    table = np.zeros((3, 20))
    table[0, 0] = 1
    found = krippendorff_alpha(table, "nominal")
    assert found.value is not None
    assert found.interval is None
    assert "resamples of the items all ratings are equal" in found.reason


def test_kappa_needs_as_many_ratings_of_each_item_but_not_the_same_raters():
    table = np.array([[1.0, 2.0, NAN], [1.0, NAN, 2.0], [NAN, 1.0, 2.0]])
    assert fleiss_kappa(table).value == pytest.approx((2 / 3 - 0.5) / 0.5)
    table[2, 0] = 1
    assert fleiss_kappa(table).value is None
    assert fleiss_kappa(table).reason.startswith("items have 2 to 3 ratings, and Fleiss' kappa needs as many for each")


def test_a_table_is_made_of_rows_and_refuses_a_second_rating():
    table = rating_table([1, 2, 3], ["s", "r", "s"], ["p", "q", "q"])
    assert np.array_equal(table, [[NAN, 2], [1, 3]], equal_nan=True)
    with pytest.raises(UserError, match="rater 's' rated 'q' more than once"):
        rating_table([1, 2, 3], ["s", "s", "s"], ["p", "q", "q"])


def test_importing_the_statistics_loads_no_heavy_library():
    modules = "agreement bradley_terry clustering comparisons davidson position_effect preference separation simulation"
    program = (
        f"import sys; from drawbench.human_eval import {', '.join(modules.split())}; "
        "print([name for name in ('evalica', 'pandas', 'scipy.optimize', 'statsmodels', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def imagenhub(folder, task):
    """Returns system -> (raters, items, 2) ratings: semantic consistency, perceptual quality."""
    tables = {}
    for number in (1, 2, 3):
        with open(folder / f"{task}_rater{number}.tsv", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        rows.sort(key=lambda row: row["uid"])
        for system in rows[0].keys() - {"uid"}:
            tables.setdefault(system, []).append([ast.literal_eval(row[system]) for row in rows])
    return {system: np.array(table, float) for system, table in tables.items()}


def test_imagenhubs_means_kappas_and_alphas_are_reproduced_to_the_printed_digit(shared):
    folder = shared / "human" / "imagenhub"
    if not folder.is_dir():
        pytest.skip("the ratings of ImagenHub are not here")
    checked = 0
    for task, systems in json.loads((folder / "published.json").read_text()).items():
        tables = imagenhub(folder, task)
        assert tables.keys() == systems.keys()
        for system, published in systems.items():
            for column, aspect in enumerate(("SC", "PR")):
                table = tables[system][:, :, column]
                found = {
                    "mean": table.mean(),
                    "fleiss_kappa": fleiss_kappa(table, resamples=2).value,
                    "krippendorff_alpha_ordinal": krippendorff_alpha(table, "ordinal", resamples=2).value,
                }
                for name, value in found.items():
                    expected = published[f"{aspect}_{name}"]
                    assert (None if value is None else round(float(value), 2)) == expected, (task, system, aspect, name)
                    checked += 1
    assert checked == 84
