"""What a sweep says of its points: ties, seeds, captions, and that tests which were run together are adjusted together."""

import json
from itertools import product

import pytest
from making_runs import make_run, prompts, score

from drawbench.interfaces import Output
from drawbench.plugins import BUILTIN
from drawbench.reports.pairs import Contrast, Subject, judged
from drawbench.reports.sweep import Anchor, Scored, Sweep, write_points, write_sweep
from drawbench.reports.sweep_figure import caption, figure
from drawbench.reports.sweep_pairs import Difference, design, differences_of, family, groups, limits
from drawbench.reports.sweep_plots import Plot, Quantity
from drawbench.reports.sweep_points import mains
from drawbench.reports.sweep_words import SEEDED, best, methods, seeds, warnings
from drawbench.store import System

SHARE = Quantity("faithful", "share", "↑")


@pytest.fixture
def swept(tmp_path):
    """Makes a sweep of options: one value of every prompt, given the point's values; {} scores nothing."""
    toys = prompts(count=12)

    def make(options, value, plots=(), **given):
        points = []
        for chosen in product(*reversed(options.values())):
            values = dict(zip(options, reversed(chosen), strict=True))
            label = " ".join(f"{key}={it}" for key, it in values.items())
            at = value(values)
            run = make_run(tmp_path / label.replace(" ", "_"), toys, f"toy {label}")
            files = [] if at is None else [score(run, "faithful", {"share": at}, **given)]
            points.append(Scored(label, values, run, files))
        return Sweep("toy", points, list(plots), {})

    return make


def wave(shift):
    return lambda prompt, sample: 0.5 + shift + 0.01 * ((7 * int(prompt.id)) % 5)


def test_all_points_that_share_the_best_value_are_named(swept):
    sweep = swept({"k": ["1", "2", "3"]}, lambda values: wave(0.0 if values["k"] == "2" else 0.1))
    (main,) = mains(sweep)
    assert best(sweep, main) == "faithful share is highest at k=1 and k=3 alike: 0.6217"
    even = swept({"k": ["1", "2"]}, lambda values: wave(0.0))
    assert best(even, main) == "faithful share is the same at all 2 points: 0.5217"
    alone = swept({"k": ["1", "2", "3"]}, lambda values: wave(int(values["k"]) / 10))
    assert best(alone, main).startswith("faithful share is highest at k=3: 0.8217 [0.8")


@pytest.mark.parametrize(
    ("generator", "fingerprint", "said"),
    [
        ("imagen", {}, "drawn with the same seeds, so that neighbours differ by the option and not by the noise"),
        ("http", {"seed": "not sent: not reproducible"}, "takes no seed: neighbours differ by its noise"),
        ("http", {"seed": "sent as 'seed', 31 bits"}, "whether http draws by them is not known"),
        ("folder", {}, "made elsewhere"),
        ("mine:draws", {}, "whether mine:draws draws by them is not known"),
    ],
)
def test_the_same_noise_is_claimed_only_where_the_generator_draws_by_its_seed(generator, fingerprint, said):
    assert said in seeds(System("a", generator, {}, fingerprint))


def test_a_difference_that_stands_alone_falls_among_many(swept):
    """Of two curves at one value p = .03 stands; among ten values that are looked at together it does not."""
    few = swept({"k": ["1"], "mode": ["a", "b"]}, lambda values: lucky if values["mode"] == "b" else wave(0.0))
    found = differences_of(few)
    assert (family(found), found[0].contrast.verdict) == (1, "better")
    assert 0.005 < found[0].contrast.p < 0.05
    many = {"k": [str(n) for n in range(1, 5)], "mode": ["a", "b"]}
    of_many = differences_of(swept(many, lambda values: lucky if values == {"k": "1", "mode": "b"} else wave(0.0)))
    assert family(of_many) == 4 + 2 * 6, "four values at which the curves differ, and six pairs along each"
    assert of_many[0].contrast.p == found[0].contrast.p
    assert of_many[0].contrast.p_holm == pytest.approx(16 * found[0].contrast.p)
    assert {it.contrast.verdict for it in of_many} == {"not distinguishable"}


def lucky(prompt, sample):
    return wave(0.0)(prompt, sample) + (0.02 if int(prompt.id) <= 9 else -0.005) * (1 + int(prompt.id) % 3)


def test_the_order_of_the_options_decides_nothing(swept):
    options = {"k": ["1", "2", "3"], "mode": ["a", "b"]}
    found = []
    for order in (["k", "mode"], ["mode", "k"]):

        def value(values):
            return lucky if values["mode"] == "b" else wave(int(values["k"]) / 100)

        sweep = swept({key: options[key] for key in order}, value)
        of_order = differences_of(sweep)
        assert family(of_order) == 3 + 2 * 3
        (first, *_) = of_order
        assert first.key == order[1], "the curves are held against each other first"
        assert "differ in exactly one option" in design(sweep, of_order)
        of_pair = {}
        for it in of_order:
            pair = frozenset(tuple(sorted(point.values.items())) for point in (it.a, it.b))
            of_pair[pair] = (it.contrast.p, it.contrast.p_holm, it.contrast.verdict)
        found.append(of_pair)
        between, along = groups(sweep, of_order)
        assert (len(between.rows) + len(along.rows), along.title.split(":")[0]) == (9, f"Along {order[0]}")
    assert found[0] == found[1]
    assert len({p_holm for _, p_holm, _ in found[0].values()}) > 1


def differing(*of):
    """Differences of which the p and the number of prompts are given; without prompts, of a jackknife."""
    found = []
    for p, count in of:
        method = "sign flips, some" if count else "t of the jackknife, 49 degrees of freedom"
        subject = Subject("toys", "m", "share", True, "mean" if count else "set", True)
        contrast = Contrast(subject, "a", "b", None, 1.0, None, None, p, method, count)
        found.append(Difference("k", {}, None, None, contrast, ("", "")))
    told = judged([it.contrast for it in found])
    return [it._replace(contrast=contrast) for it, contrast in zip(found, told, strict=True)]


def test_so_many_tests_that_no_flip_can_stand_are_warned_of(swept):
    sweep = swept({"k": ["1", "2"]}, lambda values: wave(int(values["k"]) / 10))
    assert limits(differences_of(sweep)) == ""
    found = differing(*[(0.5, 100)] * 501)
    assert "501 differences were tested together" in limits(found)
    assert "0.050 after Holm" in limits(found)
    assert limits(found).endswith("sweep fewer values"), "ten thousand flips are drawn of any more prompts"
    assert limits(found) in warnings(sweep, found)
    assert limits(differing(*[(0.5, 100)] * 499)) == ""


def test_tests_that_holm_takes_off_first_do_not_count_and_exact_flips_have_a_least_p_of_their_own():
    sure = [(1e-9, 0)] * 400
    assert limits(differing(*sure, *[(0.5, 100)] * 300)) == "", "700 tests, of which 300 are left"
    assert limits(differing(*[(0.5, 0)] * 400, *[(0.5, 100)] * 300))
    assert limits(differing(*[(0.5, 8)] * 6)) == "", "6 × 2/256 is under 0.05"
    assert "or give more prompts" in limits(differing(*[(0.5, 8)] * 7))
    assert limits(differing((0.5, 4))).endswith("from chance; give more prompts")
    assert limits(differing(*[(0.5, 8)] * 7, (0.5, 100))) == "", "one of them can stand"
    assert limits(differing(*[(0.5, 0)] * 900)) == "", "no flips, nothing to say of them"


def test_a_point_that_was_not_scored_is_in_no_pair_and_the_next_is_the_first(swept, tmp_path):
    sweep = swept({"k": ["1", "2", "3"]}, lambda values: None if values["k"] == "1" else wave(int(values["k"]) / 10))
    assert [(it.a.label, it.b.label) for it in differences_of(sweep)] == [("k=3", "k=2")]
    write_sweep(sweep, tmp_path)
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["comparisons_are"]["tested_together"] == 1


def test_the_caption_says_what_is_drawn_and_not_what_mostly_is(swept):
    even = {"share": Output(higher_is_better=True, kind="mean", main=True)}
    over_k = Plot(Quantity(None, "k", ""), SHARE)
    keys = {"k": ["1", "2", "3"], "mode": ["a", "b"]}
    whole = swept(keys, lambda values: wave(0.0), [over_k])
    assert (
        caption(whole, over_k)
        == "faithful share ↑ against k, a curve for each mode; bands: 95 % intervals of faithful share."
    )
    gap = swept(keys, lambda values: None if values["k"] == "2" else wave(0.0), [over_k])
    said = caption(gap, over_k)
    assert (
        "; bars: 95 % intervals of faithful share; 2 points without a value left out, and no line leads past." in said
    )
    assert 'class="s0 band"' not in figure(gap, over_k)
    flat = swept(keys, lambda values: lambda prompt, sample: 0.5, [over_k], outputs=even)
    assert "; no intervals (all prompt means are equal: their spread cannot be estimated)." in caption(flat, over_k)
    against = Plot(SHARE, SHARE)
    assert "along k, a curve for each mode; crosses: 95 % intervals in both directions." in caption(whole, against)


def test_too_many_curves_are_left_out_with_a_warning(swept):
    plot = Plot(Quantity(None, "k", ""), SHARE)
    one = swept({"k": ["1"], "mode": ["m0"]}, lambda values: wave(0.0), [plot])
    points = [one.points[0]._replace(values={"k": "1", "mode": f"m{n}"}) for n in range(33)]
    sweep = one._replace(points=points)
    assert figure(sweep, plot) == ""
    assert any("is left out: 33 curves, of which 32 can be told apart" in text for text in warnings(sweep))


def test_of_every_generator_of_ours_it_is_decided_whether_it_draws_by_its_seed():
    assert set(BUILTIN["generators"]) == {*SEEDED, "folder", "http"}


def test_an_anchor_of_other_size_must_not_be_held_against_the_points(swept, tmp_path):
    sweep = swept({"k": ["1", "2"]}, lambda values: wave(0.0))
    run = make_run(tmp_path / "anchor", prompts(count=12), "perfect", samples=2)
    beside = sweep._replace(anchors=[Anchor("perfect", run, [score(run, "faithful", {"share": wave(0.3)})])])
    told = "the anchor perfect is of 12 prompts with 2 samples each and the points of 12 prompts with 1 sample each"
    assert any(text.startswith(told) for text in warnings(beside))
    assert not any("anchor" in text for text in warnings(sweep))


@pytest.mark.parametrize("kind", ["mean", "set"])
def test_an_image_that_was_refused_parts_the_values_of_sets_alone_and_blames_no_anchor(tmp_path, kind):
    outputs = {"share": Output(higher_is_better=True, kind=kind, main=True)}
    points, toys = [], prompts(count=12)
    for k in ("1", "2"):
        run = make_run(tmp_path / k, toys, f"toy {k}", refuse={"003": "no"} if k == "1" else {})
        points.append(Scored(f"k={k}", {"k": k}, run, [score(run, "faithful", {"share": wave(0.1)}, outputs)]))
    run = make_run(tmp_path / "whole", toys, "whole")
    anchor = Anchor("whole", run, [score(run, "faithful", {"share": wave(0.1)}, outputs)])
    said = warnings(Sweep("toy", points, [], {}, [anchor]))
    apart = ["faithful: the points differ in n, and must not be held against each other"] if kind == "set" else []
    assert said == ["k=1: 1 of 12 planned images are not drawn", *apart]


def test_points_of_other_plans_are_told_how_they_become_alike(tmp_path):
    points = []
    for k in ("1", "2"):
        run = make_run(tmp_path / k, prompts(count=12), f"toy {k}", samples=int(k))
        points.append(Scored(f"k={k}", {"k": k}, run, [score(run, "faithful", {"share": wave(0.1)})]))
    (said,) = warnings(Sweep("toy", points, [], {}))
    assert "12 prompts with 1 sample each and 12 prompts with 2 samples each" in said
    assert said.endswith("the widest --limit and --samples that was given here makes them alike")


def test_the_page_warns_of_a_pair_that_was_picked(swept):
    sweep = swept({"k": ["1", "2", "3"]}, lambda values: wave(0.0))
    assert any("picked out of 3 points after looking" in text for text in methods(sweep, differences_of(sweep)))


def test_while_unfinished_a_file_that_knows_more_is_kept_and_a_damaged_one_is_not(swept, tmp_path):
    sweep = swept({"k": ["1", "2", "3"]}, lambda values: wave(int(values["k"]) / 10))
    part, file = sweep._replace(points=sweep.points[:2]), tmp_path / "sweep.json"

    def known():
        content = json.loads(file.read_text())
        return len(content["points"]), content["finished"]

    file.write_text('{"points": [')
    write_points(part._replace(points=part.points[:1]), tmp_path)
    assert known() == (1, False)
    write_points(part, tmp_path)
    assert known() == (2, False)
    write_sweep(part, tmp_path)
    write_points(part, tmp_path)
    assert known() == (2, True), "the same points without their differences are less"
    write_points(sweep, tmp_path)
    assert known() == (3, False)
    write_points(part, tmp_path)
    assert known() == (3, False)
