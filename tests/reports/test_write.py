import base64
import io
import json
import re
import zlib

import numpy as np
import PIL.Image
import pytest
from making_runs import make_run, noise, png, prompts, redraw, score

from drawbench.errors import UserError
from drawbench.interfaces import Output, Prompt
from drawbench.prompts import make_prompt_set
from drawbench.reports import gallery
from drawbench.reports.comparison import compare
from drawbench.reports.markdown import render_markdown
from drawbench.reports.page import render_html
from drawbench.reports.write import summary_lines, write_report
from drawbench.scores import score_from_json

EVIL = "<script>alert(1)</script>"
OUTPUTS = {
    "share": Output(higher_is_better=True, kind="mean", main=True),
    "length": Output(higher_is_better=None, kind="mean"),
}


def wave(prompt, sample=0):
    return 0.5 + 0.1 * np.sin(zlib.crc32(prompt.id.encode()))


def both(tmp_path, prompt_set, names=("alpha", "beta"), **of_second):
    runs = [make_run(tmp_path / "a", prompt_set, names[0]), make_run(tmp_path / "b", prompt_set, names[1], **of_second)]
    for run, shift in zip(runs, (0.1, 0.0), strict=True):
        values = {"share": lambda p, s, shift=shift: wave(p) * (1 + shift), "length": lambda p, s: float(len(p.text))}
        score(run, "faithful", values, OUTPUTS, notes={"read": lambda p: f"{EVIL} as read"}, remarks=[f"{EVIL} remark"])
    return runs


def evil_prompts():
    texts = [
        Prompt(f"{i:03d}", f"{EVIL} | toy [{i}](x) `code` *bold*", EVIL if i % 2 else "blue|green") for i in range(1, 9)
    ]
    return make_prompt_set("toys", texts)


def strict(constant):
    raise AssertionError(f"{constant} is not JSON")


def pictures(page):
    return re.findall(r'<img loading="lazy" decoding="async"[^>]*base64,([^"]+)"', page)


def test_the_page_has_the_answer_every_number_and_every_image(tmp_path):
    runs = both(tmp_path, prompts())
    comparison = write_report(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert re.search(r"<h1>On the 24 prompts of toys \(24 images each\), alpha is better than beta by 0\.0\d+ \[", page)
    for of_system in comparison.sections[0].metrics[0].outputs[0].scores.values():
        assert f"{of_system[None].value:.3f}" in page
    assert len(pictures(page)) == 48
    assert page.count('<svg class="plot"') == 2
    assert "24 prompts" in page
    assert "nothing picked by hand" in page


def test_the_page_asks_nothing_of_the_network(tmp_path):
    write_report(both(tmp_path, prompts()), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import|https?:", page)
    assert "default-src 'none'" in page


def test_what_others_wrote_shows_as_text_in_html(tmp_path):
    runs = both(
        tmp_path, evil_prompts(), (f"{EVIL} 1", f'"><img src=x> {EVIL}'), fail={"001": EVIL}, refuse={"002": EVIL}
    )
    page = render_html(compare(runs, {EVIL: EVIL}), runs)
    assert EVIL not in page
    assert page.count("<script>") == 1
    assert "<img src=x>" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20


def test_what_others_wrote_shows_as_text_in_markdown(tmp_path):
    runs = both(tmp_path, evil_prompts(), ("alpha|1", f"beta {EVIL}"), fail={"001": "a | b\nc"}, refuse={"002": EVIL})
    text = render_markdown(compare(runs))
    assert "<script" not in text
    widths = [
        {line.count("|") for line in block.splitlines() if line.startswith("|")}
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert widths
    assert all(len(width) == 1 for width in widths)
    assert "a &#124; b c" in text


def test_markdown_has_the_sentence_the_tables_and_the_protocols(tmp_path):
    runs = both(tmp_path, prompts(), fail={"003": "out of memory"})
    write_report(runs, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text("utf-8")
    assert text.startswith("# On the 24 prompts of toys (24 and 23 images), alpha is better than beta by")
    assert "⚠️ **beta on toys: 1 failed of 24 planned images**" in text
    assert "| failed | beta | 003/0 | red | toy number 3 | out of memory |" in text
    assert re.search(r"\| red \| 0\.\d+ \[0\.\d+, 0\.\d+\] \| ", text)
    assert "<details><summary>faithful on toys</summary>" in text


def test_json_is_strict_and_complete(tmp_path):
    runs = both(tmp_path, prompts(), fail={"003": "out of memory"}, refuse={"004": "unsafe"})
    redraw(runs[0], "001")
    score(runs[0], "pretty", {"share": lambda p, s: np.nan if p.category == "red" else wave(p)})
    score(runs[1], "pretty", {"share": wave})
    comparison = write_report(runs, tmp_path / "report.json", {"fid": "no reference"})
    content = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=strict)
    assert content["schema_version"] == 1
    assert [system["name"] for system in content["systems"]] == ["alpha", "beta"]
    assert {"system": "alpha", "metric": "faithful", "prompt_set": "toys"} in content["stale"]
    assert content["skipped"] == {"fid": "no reference"}
    assert [(it["prompt"], it["reason"]) for it in content["failures"] + content["refusals"]] == [
        ("003", "out of memory"),
        ("004", "unsafe"),
    ]
    (missing,) = content["missing"]
    assert (missing["planned"], missing["drawn"], missing["refused"], missing["failed"], missing["not_drawn"]) == (
        24,
        22,
        1,
        1,
        0,
    )
    assert len(content["comparisons"]) == len(comparison.contrasts)
    assert {row["verdict"] for row in content["comparisons"]} >= {"not compared", "not distinguishable"}
    back = [
        score_from_json({k: v for k, v in row.items() if k not in ("prompt_set", "label")}) for row in content["scores"]
    ]
    files = [file for metric in comparison.sections[0].metrics for file in metric.files.values()]
    assert back == [score for file in files for score in file.scores]
    assert content["protocol_differences"][0]["fields"] == {"n": ["24", "22"]}


def test_protocols_that_differ_stand_in_red_and_are_not_subtracted(tmp_path):
    toys = prompts()
    runs = both(tmp_path, toys)
    for run, resize in zip(runs, ("area", "bicubic"), strict=True):
        score(run, "pretty", {"share": wave}, fields={"resize": resize})
    page = render_html(compare(runs), runs)
    assert "pretty on toys is not compared across protocols: resize is area (alpha), bicubic (beta)" in page
    assert "protocols differ in resize" in page
    assert re.search(r'<tr class="warn"><th scope="row">resize</th><td>area</td><td>bicubic</td>', page)


def test_an_image_that_is_not_there_says_why(tmp_path):
    runs = both(tmp_path, prompts(), fail={"001": "out of memory"}, refuse={"002": "unsafe"}, skip=["003"])
    runs[1].image_path("004", 0).unlink()
    runs[1].image_path("005", 0).write_bytes(png((1, 2, 3))[:40])
    page = render_html(compare(runs), runs)
    absent = re.findall(r'<p class="absent">([^<]*)</p>', page)
    reasons = ["failed: out of memory", "refused: unsafe", "not drawn"]
    assert absent == [*reasons, "drawn, but the file is gone", "drawn, but the file cannot be read"]
    assert "1 image refused on toys" in page
    assert "1 image failed on toys" in page


def test_unverified_scores_are_marked(tmp_path):
    run = make_run(tmp_path / "a", prompts())
    score(run, "faithful", {"share": wave}, verified=False)
    assert "Unverified on published weights: faithful." in render_html(compare([run]), [run])


def test_one_run_makes_a_report_of_every_kind(tmp_path):
    run = make_run(tmp_path / "a", prompts())
    score(run, "faithful", {"share": wave})
    for name in ("report.html", "report.md", "report.json"):
        comparison = write_report([run], tmp_path / name)
        assert "alpha reaches 0." in (tmp_path / name).read_text("utf-8")
    assert "Verdict" not in (tmp_path / "report.html").read_text("utf-8")
    assert summary_lines(comparison)[2].split() == ["metric", "alpha", "n"]


def test_a_report_without_scores_says_so_and_shows_the_images(tmp_path):
    run = make_run(tmp_path / "a", prompts())
    for name in ("report.html", "report.md", "report.json"):
        write_report([run], tmp_path / name)
        assert "no scores of them yet" in (tmp_path / name).read_text("utf-8")
    assert len(pictures((tmp_path / "report.html").read_text("utf-8"))) == 24


def test_a_run_without_images_makes_a_page(tmp_path):
    toys = prompts()
    run = make_run(tmp_path / "a", toys, skip=[p.id for p in toys.prompts])
    page = render_html(compare([run]), [run])
    assert page.count('<p class="absent">not drawn</p>') == 24
    assert "24 not drawn of 24 planned images" in page


def test_three_systems_and_two_prompt_sets_make_a_page(tmp_path):
    toys, other = prompts(), prompts(20, (), name="captions")
    runs = [
        make_run(tmp_path / f"{name}-{s.name}", s, name) for s in (toys, other) for name in ("alpha", "beta", "gamma")
    ]
    for run in runs:
        score(run, "faithful", {"share": wave})
    page = render_html(compare(runs), runs)
    assert len(pictures(page)) == 3 * 44
    assert page.count('rowspan="3" data-label="alpha"') == 2
    assert "no two systems are distinguishable in faithful" in page


def test_at_most_200_prompts_are_shown_in_turn_from_the_categories(tmp_path):
    run = make_run(tmp_path / "a", prompts(230, ("red", "blue")))
    page = render_html(compare([run]), [run])
    assert len(pictures(page)) == 200
    assert "Shown are 200 of 230 prompts" in page
    assert page.count('data-category="red"') == page.count('data-category="blue"') == 100


def test_three_systems_of_200_incompressible_images_stay_under_20_megabytes(tmp_path):
    bits = np.random.default_rng(0)
    files = [noise(bits, 512) for _ in range(8)]
    toys = prompts(200)
    runs = [make_run(tmp_path / name, toys, name, image=lambda p, s: files[int(p.id) % 8]) for name in ("a", "b", "c")]
    page = render_html(compare(runs), runs)
    assert len(page.encode()) < 20_000_000
    assert len(pictures(page)) == 600


def test_images_are_as_good_as_the_space_allows(tmp_path, monkeypatch):
    bits = np.random.default_rng(0)
    run = make_run(tmp_path / "a", prompts(20), image=lambda p, s: noise(bits, 600))
    sizes = []
    for space in (14_000_000, 200_000):
        monkeypatch.setattr(gallery, "MOST_BASE64", space)
        found = pictures(render_html(compare([run]), [run]))
        assert sum(map(len, found)) <= space
        sizes.append(PIL.Image.open(io.BytesIO(base64.b64decode(found[0]))).size[0])
    assert sizes[0] == 512 > sizes[1]


def test_the_terminal_gets_the_sentence_a_table_and_the_warnings(tmp_path):
    runs = both(tmp_path, prompts(), ("alpha", "beta\x1b[31m"), fail={"003": "out of memory"})
    lines = summary_lines(compare(runs, {"fid": "no reference"}))
    assert lines[0].startswith("On the 24 prompts of toys")
    assert re.search(r"^faithful share ↑ +0\.\d+ \[.*\+0\.0\d+ \[.* alpha better +24 / 23$", lines[4])
    assert "! fid was skipped: no reference" in lines
    assert not any("\x1b" in line for line in lines)


def test_another_kind_of_file_is_an_error_that_names_the_three(tmp_path):
    run = make_run(tmp_path / "a", prompts())
    with pytest.raises(UserError, match=r"\.html, \.md or \.json, not as '\.pdf'"):
        write_report([run], tmp_path / "report.pdf")
    with pytest.raises(UserError, match="not as a file without a suffix"):
        write_report([run], tmp_path / "report")


def test_a_system_that_lacks_a_prompt_set_is_shown_where_it_has_one(tmp_path):
    toys, other = prompts(), prompts(20, (), name="captions")
    runs = [*both(tmp_path, toys), make_run(tmp_path / "c", other, "alpha")]
    score(runs[2], "faithful", {"share": wave})
    comparison = compare(runs)
    page = render_html(comparison, runs)
    assert "on the 20 prompts of captions (20 images), alpha reaches" in page
    rows = [line for line in summary_lines(comparison) if line.startswith("captions")]
    assert re.search(r"^captions +faithful share ↑ +0\.\d+ \[.* not scored +20$", rows[0])
    assert "| captions | faithful share ↑ |" in render_markdown(comparison)


def test_a_metric_that_one_system_lacks_is_shown_for_the_other(tmp_path):
    runs = both(tmp_path, prompts())
    redraw(runs[1], "001")
    score(runs[0], "pretty", {"share": lambda p, s: np.nan if p.category == "red" else wave(p)})
    comparison = compare(runs)
    page = render_html(comparison, runs)
    assert "beta: the scores of faithful on toys are older than the images" in page
    assert page.count('data-label="beta"><span class="why">not scored</span>') == 2
    assert "beta has no scores of it" in page
    assert "no image has a value" in page
    assert "not scored" in render_markdown(comparison)
    assert any("not scored" in line for line in summary_lines(comparison))
