"""What raters said of the systems of a report: the findings of studies, and whether they judged these very runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawbench.human_eval.analysis import analyse
from drawbench.human_eval.creation import sources_digest
from drawbench.human_eval.findings import by_whom, raters_said, sentences
from drawbench.human_eval.stimuli import stimulus_name
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import REFERENCE, Study
from drawbench.reports.digits import listed
from drawbench.store import Run


@dataclass(frozen=True, slots=True)
class HumanStudy:
    """A study's findings as a report shows them."""

    label: str
    """The study's folder."""
    analysis: Mapping[str, Any]
    """See `drawbench.human_eval.analysis.analyse`."""
    remarks: Sequence[str]
    """In what the study does not speak of the report's runs."""

    @property
    def overall(self) -> list[Mapping[str, Any]]:
        """The preferences over all categories."""
        return [row for row in self.analysis["preferences"] if row["category"] is None]

    @property
    def title(self) -> str:
        """Whose judgements these are, and how many."""
        return f"{self.label}: {by_whom(self.analysis)}, design {self.analysis['design']}"

    @property
    def who(self) -> str:
        """Who said it: people, simulated raters, a model."""
        return raters_said(self.analysis)

    def sentences(self) -> list[str]:
        """Returns the findings in words."""
        return sentences(self.analysis)


def is_study(path: Path) -> bool:
    """Says whether a folder is a study, not a run."""
    return (path / "study.json").is_file()


def read_study(path: Path, runs: Sequence[Run]) -> HumanStudy:
    """Returns what a study says, with what it does not share with the runs that it stands beside.

    Raises:
        UserError: it cannot be read, or has no judgements.
    """
    study = Study.open(path)
    store = Store(study)
    judgements = store.judgements()
    store.close()
    return HumanStudy(path.name, analyse(study, judgements), list(_remarks(study, path.name, runs)))


def _remarks(study: Study, label: str, runs: Sequence[Run]) -> Iterator[str]:
    systems = {run.manifest.system.name: run.manifest.system for run in runs}
    strangers = [name for name in study.systems if name not in systems and name != REFERENCE]
    if strangers:
        yield f"the study {label} also judged {listed(strangers)}, of which no run is given here"
    judged: Mapping[str, str] = study.manifest.get("runs", {})
    others = [name for name, digest in judged.items() if name in systems and systems[name].digest != digest]
    if others:
        yield (
            f"the study {label} judged other systems under the names {listed(others)}: generator, options or weights differ "
            "from those of the runs given here"
        )
    yield from _images(study, label, [run for run in runs if run.manifest.system.name not in others])
    sets = {run.prompt_set.sha256 for run in runs}
    if study.manifest.get("prompt_set_sha256", None) not in sets:
        yield f"the study {label} is of the prompts {study.manifest.get('prompt_set', 'of its import')}, not of those of the runs"
    if study.systems and all(name in strangers for name in study.systems if name != REFERENCE):
        yield f"the study {label} judged none of the systems of this report"


def _images(study: Study, label: str, runs: Sequence[Run]) -> Iterator[str]:
    """Yields of which runs the study has judged other images, or cannot tell whether it has."""
    judged: Mapping[str, Mapping[str, Any]] = study.manifest.get("sources", {})
    secret = study.manifest.get("secret")
    shown = {name for item in study.items for side in item.sides for name in side.images}
    unknown = []
    for run in runs:
        name = run.manifest.system.name
        if name not in study.systems or run.prompt_set.sha256 != study.manifest.get("prompt_set_sha256"):
            continue
        if name not in judged or not secret:
            unknown.append(name)
        elif judged[name]["seed"] != run.manifest.seed:
            yield (
                f"the study {label} judged images of {name} drawn with seed {judged[name]['seed']}; those of the run given "
                f"here were drawn with seed {run.manifest.seed}"
            )
        else:
            records = run.records().values()
            own = [it for it in records if stimulus_name(secret, name, it.prompt, it.sample) in shown]
            if sources_digest(own) != judged[name]["sha256"]:
                yield f"the study {label} judged other images of {name} than those of the run given here: some were replaced"
    if unknown:
        yield (
            f"whether the study {label} judged these very images of {listed(unknown)} cannot be checked: it is older than "
            "that record, or came from an export"
        )
