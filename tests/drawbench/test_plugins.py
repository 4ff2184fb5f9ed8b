import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from drawbench.errors import UserError
from drawbench.plugins import BUILTIN, available, call, find, parse_named, source
from drawbench.settings import Aside, build, convert, on_record, options, parse_settings, resolve


@dataclass(frozen=True)
class Stage:
    steps: int = 50
    sampler: Literal["ddim", "ancestral"] = "ddim"


def factory(*, path: Path, device: str, weight: float = 1.0, name: str | None = None, base: Stage = Stage(steps=9)):
    return {"path": path, "device": device, "weight": weight, "name": name, "base": base}


def test_a_factorys_annotated_parameters_are_its_options():
    found = options(factory)
    assert list(found) == ["path", "weight", "name", "base.steps", "base.sampler"]
    assert found["base.steps"].default == 9


def test_options_are_converted_and_handed_over():
    values = resolve("f", factory, {"path": "~/x", "base.sampler": "ancestral", "weight": "1.35"})
    made = build(factory, values, device="cpu", dtype="fp32")
    assert made == {
        "path": Path.home() / "x",
        "device": "cpu",
        "weight": 1.35,
        "name": None,
        "base": Stage(9, "ancestral"),
    }


@dataclass(frozen=True)
class Pace:
    at_once: Annotated[int, Aside] = 4
    order: str = "file"


def test_where_something_lies_and_what_moves_no_image_is_not_on_record():
    def paced(*, path: Path, patience: Annotated[float | None, Aside] = None, size: int = 8, pace: Pace = Pace()):
        return patience, pace

    values = resolve("f", paced, {"path": "x", "patience": "2.5", "pace.at_once": "9"})
    assert build(paced, values) == (2.5, Pace(9))
    assert on_record(paced, values) == {"size": 8, "pace.order": "file"}
    assert [option.aside for option in options(paced).values()] == [False, True, False, True, False]


def test_an_option_that_must_be_given_is_asked_for():
    with pytest.raises(UserError, match=r"f needs --set f\.path=a path"):
        resolve("f", factory, {})


def test_an_unknown_option_gets_a_did_you_mean():
    with pytest.raises(UserError, match=r"no option 'base.stepps'; did you mean 'base.steps'\? \(it has: path, weight"):
        resolve("f", factory, {"base.stepps": "1"})


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("1e-4", float, 1e-4),
        ("", str, ""),
        ("True", bool, True),
        ("off", bool, False),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("2.5", int | float, 2.5),
        ("b", Literal["a", "b"], "b"),
        ("8", Literal[8, 16], 8),
        ("none", Literal["none", "static"] | None, "none"),
    ],
)
def test_text_is_converted_by_the_annotation(text, annotation, value):
    converted = convert("--set a.b", text, annotation)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("big", int, "'big' is not a whole number"),
        ("1.5", int, "'1.5' is not a whole number"),
        ("x", float, "'x' is not a number"),
        ("nan", float, "must be finite"),
        ("maybe", bool, "allowed are true and false"),
        ("ddmi", Literal["ddim", "plms"], "allowed are ddim, plms; did you mean 'ddim'"),
        ("x", int | None, "'x' is not a whole number"),
        ("12", tuple[int, int], "cannot be set from the command line"),
    ],
)
def test_text_that_does_not_fit_is_refused_by_name(text, annotation, message):
    with pytest.raises(UserError) as caught:
        convert("--set a.b", text, annotation)
    assert str(caught.value).startswith("--set a.b")
    assert message in str(caught.value)


def test_an_unknown_name_gets_a_did_you_mean_and_the_list():
    with pytest.raises(
        UserError,
        match=r"no generator is called 'nose'; did you mean 'noise'\? \(installed: folder, hf_diffusers, http, imagen, noise",
    ):
        find("generators", "nose")


def test_every_name_of_ours_leads_to_a_factory():
    for kind, table in BUILTIN.items():
        for name in table:
            assert callable(find(kind, name).load()), name
            assert kind == "datasets" or options(find(kind, name).load()) is not None


def test_names_are_listed_without_importing_what_they_lead_to():
    code = (
        "import sys; from drawbench.plugins import available\n"
        "for kind in ('generators', 'metrics', 'prompts'): available(kind)\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'PIL', 'numpy') or m.startswith('drawbench.metrics')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_and_aliases_are_read_in_order():
    assert parse_named(["noise"]) == {"noise": "noise"}
    assert list(parse_named(["b=noise", "a=noise"]).items()) == [("b", "noise"), ("a", "noise")]
    assert parse_named(["my/file.py:make"]) == {"make": "my/file.py:make"}
    with pytest.raises(UserError, match="'noise' is given twice"):
        parse_named(["noise", "noise"])
    for bad in ("=noise", "a=", "a.b=noise"):
        with pytest.raises(UserError, match="give NAME or ALIAS=NAME"):
            parse_named([bad])


def test_settings_go_to_their_owners():
    assert parse_settings(["a.x=1", "b.y.z=p=q"], ["a", "b"]) == {"a": {"x": "1"}, "b": {"y.z": "p=q"}}
    with pytest.raises(
        UserError, match=r"nothing here is called 'guidde'; did you mean 'guided'\? \(here are: guided, plain\)"
    ):
        parse_settings(["guidde.x=1"], ["guided", "plain"])
    for bad in ("x=1", "a.x", "a.=1"):
        with pytest.raises(UserError, match="write OWNER.key=value"):
            parse_settings([bad], ["a"])
    with pytest.raises(UserError, match="given twice"):
        parse_settings(["a.x=1", "a.x=2"], ["a"])


def test_a_file_is_a_plug_in_of_its_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def make(*, size: int = 3):\n    return size\n")
    assert build(find("generators", f"{file}:make").load(), {"size": 4}) == 4
    with pytest.raises(UserError, match="there is no file"):
        find("generators", str(tmp_path / "nowhere.py:make"))
    with pytest.raises(UserError, match="could not be loaded .*AttributeError"):
        find("generators", f"{file}:other").load()


def test_a_module_is_known_by_its_whole_name_and_its_code():
    plugin = find("generators", "drawbench.generators.noise:noise")
    assert plugin.name == "drawbench.generators.noise:noise"
    assert len(source(plugin)["source sha256"]) == 64
    assert source(find("generators", "noise")) == {}


def test_what_anothers_factory_raises_names_its_file(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def make():\n    raise RuntimeError('no GPU')\ndef hints(*, x: 'Unknown'):\n    pass\n")
    with pytest.raises(
        UserError, match=r"generator 'bad:make' of the file .*bad.py could not be made: RuntimeError: no GPU"
    ):
        call(find("generators", f"{file}:make"), {})
    with pytest.raises(UserError, match="name 'Unknown' is not defined; a factory's annotations are read at run time"):
        options(find("generators", f"{file}:hints").load())


def test_two_packages_that_claim_a_name_are_both_named(monkeypatch):
    class Entry:
        name, value, dist = "noise", "other:noise", type("D", (), {"name": "other-package", "version": "3"})

    monkeypatch.setattr(
        "drawbench.plugins.entry_points", lambda group: [Entry] if group == "drawbench.generators" else []
    )
    assert [p.package for p in available("generators") if p.name == "noise"] == ["drawbench", "other-package 3"]
    with pytest.raises(UserError, match="'noise' is claimed by drawbench and by other-package 3"):
        find("generators", "noise")
