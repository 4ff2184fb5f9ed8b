import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from runs import Painter, manifest, prompt_set, start

from drawbench.errors import UserError
from drawbench.interfaces import Interval, MetricProtocol, Prompt, Score
from drawbench.journal import Journal, Record, now
from drawbench.prompts import make_prompt_set
from drawbench.protocol import make_protocol
from drawbench.runner import generate
from drawbench.scores import ScoreFile, images_digest, scores_path, write_scores
from drawbench.store import Run, image_seed


@pytest.mark.parametrize(
    ("key", "seed"),
    [
        ((0, "001", 0), 5291009139719686853),
        ((0, "001", 1), 3063478397157523957),
        ((0, "200", 0), 9096572659556398306),
        ((1, "001", 0), 500434835594239705),
        ((42, "000000000042", 7), 5463909709845010825),
    ],
)
def test_the_seed_of_an_image_is_golden(key, seed):
    assert image_seed(*key) == seed


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    made = start(tmp_path / "run", samples=2, ids=("001", "003"))
    again = Run.open(tmp_path / "run")
    assert again.manifest == made.manifest
    assert again.prompt_set == made.prompt_set
    assert [(i.prompt.id, i.sample, i.seed) for i in again.items()] == [
        (prompt, sample, image_seed(0, prompt, sample)) for prompt in ("001", "003") for sample in (0, 1)
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"dtype": "bf16"}, "dtype is 'fp32' there, 'bf16' here"),
        ({"name": "other"}, "system.name is 'painter' there, 'other' here"),
        ({"options": {"size": 2}}, "system.options.size is None there, 2 here"),
        ({"fingerprint": {"painter": "2"}}, "system.fingerprint.painter is '1' there, '2' here"),
    ],
)
def test_another_identity_in_the_same_folder_is_refused_by_name(tmp_path, change, named):
    start(tmp_path / "run")
    with pytest.raises(UserError, match="holds another run") as caught:
        start(tmp_path / "run", **change)
    assert named in str(caught.value)


def test_another_prompt_set_in_the_same_folder_is_refused(tmp_path):
    start(tmp_path / "run")
    with pytest.raises(UserError, match="prompts is 'small .*' there, 'small .*' here"):
        start(tmp_path / "run", prompt_set(7))


def test_batch_size_and_time_are_not_identity(tmp_path):
    start(tmp_path / "run")
    prompts = prompt_set()
    again = Run.start(tmp_path / "run", replace(manifest(prompts), batch_size=9, created="later"), prompts)
    assert (again.manifest.batch_size, again.manifest.created) == (4, "2026-01-01T00:00:00+00:00")


def test_the_plan_only_grows(tmp_path):
    def plan(**options):
        made = start(tmp_path / "run", **options).manifest.plan
        return made.prompt_ids, made.samples

    assert plan(ids=("001",), samples=2) == (("001",), 2)
    assert plan(ids=("000", "003")) == (("000", "001", "003"), 2)
    assert plan(samples=3) == (None, 3)
    assert plan(ids=("002",)) == (None, 3)


def test_a_folder_of_something_else_is_not_made_a_run(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="not empty and not a run"):
        start(tmp_path)
    with pytest.raises(UserError, match="is not a run: it has no run.json"):
        Run.open(tmp_path)


def test_altered_prompts_are_refused_and_mended_by_the_next_start(tmp_path):
    path = tmp_path / "run"
    start(path)
    file = path / "prompts.jsonl"
    file.write_text(file.read_text().replace("Prompt 3", "Prompt three"))
    with pytest.raises(UserError, match="was altered"):
        Run.open(path)
    start(path)
    assert Run.open(path).prompts["003"].text == "Prompt 3."


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json (cannot be read|has schema version)"):
        Run.open(tmp_path)


def test_a_manifest_of_another_schema_is_refused(tmp_path):
    start(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
    with pytest.raises(UserError, match="has schema version 99; this version reads 1"):
        Run.open(tmp_path / "run")


def test_journals_are_merged_the_latest_counts_but_drawn_while_its_file_is_there(tmp_path):
    run = start(tmp_path / "run")

    def write(prompt, status, at):
        with Journal(run.path) as journal:
            journal.write(Record(prompt, 0, status, 0, f"2026-01-01T00:00:0{at}", reason=f"{status} {at}"))

    for prompt, status, at in [("000", "drawn", 1), ("000", "failed", 2), ("001", "failed", 1), ("001", "refused", 0)]:
        write(prompt, status, at)
    write("002", "failed", 5)
    write("002", "failed", 3)
    write("003", "failed", 1)
    write("003", "drawn", 2)
    run.image_path("000", 0).parent.mkdir(parents=True)
    run.image_path("000", 0).touch()

    def merged():
        return {key[0]: record.reason for key, record in run.records().items()}

    assert merged() == {"000": "drawn 1", "001": "failed 1", "002": "failed 5", "003": "drawn 2"}
    run.image_path("000", 0).unlink()
    assert merged()["000"] == "failed 2", "it was drawn, is gone, and could not be drawn again"


def test_a_journal_of_a_newer_version_is_not_called_damaged(tmp_path):
    run = start(tmp_path / "run")
    generate(run, Painter(), run.items(), batch_size=4, device="cpu")
    (file,) = (run.path / "journal").iterdir()
    whole = file.read_text()
    file.write_text(whole.replace('"prompt":', '"a new field":1,"prompt":'))
    assert len(run.records()) == 6
    for old, new in [('"journal":1', '"journal":2'), ('"status":"drawn"', '"status":"postponed"')]:
        file.write_text(whole.replace(old, new))
        with pytest.raises(UserError, match="update it"):
            run.records()


def test_prompts_with_every_kind_of_line_break_come_back_whole(tmp_path):
    texts = ["a\u2028b", "a\u0085b", "a\x0cb", "a\nb"]
    prompts = make_prompt_set("breaks", [Prompt(str(n), text) for n, text in enumerate(texts)])
    Run.start(tmp_path / "run", manifest(prompts), prompts)
    assert [p.text for p in Run.open(tmp_path / "run").prompt_set.prompts] == texts


def test_two_that_start_at_once_agree_on_one_system(tmp_path):
    """Whoever comes second meets the first's manifest, and neither takes from the other's plan."""
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(start, tmp_path / "run", options={"size": n % 2}, samples=1 + n) for n in range(8)]
        refused = [job for job in jobs if job.exception() is not None]
    assert len(refused) == 4
    assert all("system.options.size" in str(job.exception()) for job in refused)
    won = Run.open(tmp_path / "run").manifest
    assert won.plan.samples == (8 if won.system.options["size"] else 7)


def test_a_torn_last_line_is_passed_over_and_damage_before_it_is_not(tmp_path):
    run = start(tmp_path / "run")
    generate(run, Painter(), run.items(), batch_size=4, device="cpu")
    (file,) = (run.path / "journal").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert len(run.records()) == 5
    file.write_bytes(whole.replace(b'"status"', b'"stat', 1))
    with pytest.raises(UserError, match="line 2 is damaged"):
        run.records()


def test_drawn_images_come_in_the_order_of_id_and_sample(tmp_path):
    run = start(tmp_path / "run", samples=2)
    generate(run, Painter(refuses=["002"]), list(reversed(run.items())), batch_size=5, device="cpu")
    keys = [(record.prompt, record.sample) for record in run.drawn()]
    assert keys == sorted(keys)
    assert len(keys) == 10


def test_scores_are_read_back_as_they_were_written(tmp_path):
    run = start(tmp_path / "run")
    protocol = make_protocol({"metric": "m", "n": "3"})
    interval = Interval(0.1, 0.3, "t", "prompts")
    score = Score("run", "painter", "m", None, "odd", 0.2, interval, None, 3, 3, True, "mean", protocol)
    none = replace(score, value=None, interval=None, reason="applies to no image here", n=0)
    path = scores_path(run.path, "m", protocol)
    file = ScoreFile("m", "value", protocol, "ab", [score, none], ["a note"], False, now(), path)
    write_scores(file)
    assert run.score_files() == [file]
    assert path.name == f"m.{protocol.hash[:8]}.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        run.score_files()


def test_protocols_are_equal_where_their_fields_are():
    assert make_protocol({"a": "1", "b": "ö"}) == make_protocol({"b": "ö", "a": "1"})
    assert make_protocol({"a": "1"}).hash != make_protocol({"a": "2"}).hash
    assert isinstance(make_protocol({}), MetricProtocol)


def test_the_digest_of_images_moves_with_each_image(tmp_path):
    run = start(tmp_path / "run")
    generate(run, Painter(), run.items(), batch_size=4, device="cpu")
    drawn = run.drawn()
    assert images_digest(drawn) == images_digest(run.drawn())
    assert images_digest(drawn) != images_digest([*drawn[:-1], replace(drawn[-1], sha256="0")])
    assert images_digest(drawn) != images_digest(drawn[:-1])


def test_a_start_that_was_killed_after_the_manifest_is_taken_up_again(tmp_path):
    start(tmp_path / "run")
    (tmp_path / "run" / "prompts.jsonl").unlink()
    with pytest.raises(UserError, match="repeat `drawbench generate` to mend it"):
        Run.open(tmp_path / "run")
    start(tmp_path / "run")
    assert len(Run.open(tmp_path / "run").prompts) == 6
