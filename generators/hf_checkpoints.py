"""A diffusers checkpoint: where its files are, and what identifies them. A folder, one file, or an id on the model hub."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drawbench.errors import AssetMissing, UserError
from drawbench.files import sha256_file
from drawbench.generators.hf_library import diffusers_library, first_line, listening
from drawbench.generators.imagen.encoder_files import sha256_once
from drawbench.protocol import digest
from drawbench.weights import cache_folder, hub_within_reach, missing

INDEX = "model_index.json"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_WEIGHTS = re.compile(r"[^.]+(?:\.(?P<variant>[^.]+?))?(?:-\d+-of-\d+)?\.(?P<kind>safetensors|bin)")
_SAID_OF_A_FOLDER = {"_name_or_path", "name_or_path", "_diffusers_version", "transformers_version", "_commit_hash"}
"""Keys of a configuration that tell where it was saved and by what, and not what it is."""
_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class Source:
    """A checkpoint whose files are on this machine."""

    name: str
    """As given."""
    folder: Path
    """Holds model_index.json; of a single file, that of its configuration."""
    class_name: str
    """The pipeline that model_index.json names."""
    parts: Mapping[str, Sequence[str]]
    """The pipeline's parts that are loaded, each a folder: name → library and class."""
    file: Path | None = None
    commit: str | None = None
    """Of a model on the hub."""
    variant: str | None = None

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self.parts)

    def without(self, *components: str) -> Source:
        """Returns the same with some parts left out: they are neither loaded nor part of what identifies it."""
        return replace(self, parts={name: part for name, part in self.parts.items() if name not in components})

    def fingerprint(self) -> dict[str, str]:
        """Returns the hub's commit, or the sha256 of each weight file and a digest of the configuration, as they are now."""
        pipeline = {"pipeline": self.class_name}
        if self.commit is not None:
            variant = {"variant": self.variant} if self.variant else {}
            return {**pipeline, "model": self.name, "commit": self.commit, **variant}
        config = {"config": digest(_settings(self.folder, self.components))}
        if self.file is not None:
            return {**pipeline, "checkpoint sha256": sha256_once(self.file), **config}
        weights = {
            f"sha256 {name}/{path.name}": sha256_once(path)
            for name in self.components
            for path in weight_files(self.folder / name, self.variant)
        }
        return {**pipeline, **weights, **config}


def find_source(
    given: str, option: str, *, revision: str | None = None, variant: str | None = None, config: Path | None = None
) -> Source:
    """Returns a checkpoint: a folder, a ``.safetensors`` or ``.ckpt`` file, a folder in the cache, or one from the hub.

    ``option`` is what it was given as, for errors. ``config``: a folder or id that has a single file's configuration.

    Raises:
        AssetMissing: a model of the hub that is not on this machine and cannot be fetched.
        UserError: no such folder, or not a pipeline's.
    """
    path = Path(given).expanduser()
    if revision is not None and path.exists():
        raise UserError(
            f"hf_diffusers.revision={revision}: {given} is on this machine; only a hub's model has revisions"
        )
    if path.is_file():
        if variant is not None:
            raise UserError(f"hf_diffusers.variant={variant}: {given} is one file; only a folder has variants")
        return _single_file(given, path, config)
    if config is not None:
        raise UserError(f"hf_diffusers.config={config}: {given} is not a single file and has its own configuration")
    if path.is_dir():
        return _open(given, path, option, variant)
    if not _HUB_ID.fullmatch(given):
        raise UserError(
            f"{option} {given}: there is no such folder or file; give one, or an id on the hub such as "
            "stabilityai/stable-diffusion-xl-base-1.0"
        )
    if revision is None and (place := _place(given)).is_dir():
        return _open(given, place, option, variant)
    folder = _fetch(given, option, revision, variant)
    commit = folder.name if re.fullmatch("[0-9a-f]{40}", folder.name) else None
    return replace(_open(given, folder, option, variant), commit=commit)


def find_lora(given: Path) -> Path:
    """Returns an adapter's file: the one given, or the one in a folder that was given."""
    path = given.expanduser()
    if path.is_dir():
        usual = path / "pytorch_lora_weights.safetensors"
        found = [usual] if usual.is_file() else sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise UserError(
                f"hf_diffusers.lora={given}: the folder holds {len(found) or 'no'} safetensors files"
                f"{': ' + ', '.join(file.name for file in found[:5]) if found else ''}; give the path of one file"
            )
        return found[0]
    if not path.is_file():
        raise UserError(f"hf_diffusers.lora={given}: there is no such file or folder")
    return path


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Returns the files that diffusers reads of a part: of the variant, else without one; safetensors, else the older kind."""
    files: dict[tuple[str | None, str], list[Path]] = {}
    for path in sorted(folder.glob("*")):
        if match := _WEIGHTS.fullmatch(path.name):
            files.setdefault((match["variant"], match["kind"]), []).append(path)
    for key in ((variant, "safetensors"), (variant, "bin"), (None, "safetensors"), (None, "bin")):
        if key in files:
            return files[key]
    return []


def _open(given: str, folder: Path, option: str, variant: str | None) -> Source:
    index = folder / INDEX
    if not index.is_file():
        lora = (folder / "pytorch_lora_weights.safetensors").is_file()
        adapter = (
            f"; it holds a LoRA adapter: give the model that it was trained on, and --set hf_diffusers.lora={given}"
        )
        raise UserError(
            f"{option} {given}: the folder has no {INDEX}; a folder must hold {INDEX} and one folder per part of the "
            f"pipeline (unet/, vae/, …), as save_pretrained() of a diffusers pipeline writes it{adapter if lora else ''}"
        )
    try:
        content: Any = json.loads(index.read_text("utf-8"))
        parts, class_name = _parts(content), content["_class_name"]
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{index} cannot be read ({type(error).__name__}: {error}); save the pipeline again") from error
    if not isinstance(class_name, str):
        raise UserError(f"{index} names a pipeline whose code it brings along ({class_name}); such code is not run")
    if lost := [name for name in parts if not (folder / name).is_dir()]:
        raise UserError(f"{option} {given}: {INDEX} names {lost[0]}, but there is no folder {lost[0]}/; copy it again")
    source = Source(given, folder, class_name, parts, variant=variant)
    _check_variant(source, option)
    return source


def _check_variant(source: Source, option: str) -> None:
    """Raises an error where no part has the variant, or where a part has its weights in variants only."""
    found: dict[str, set[str | None]] = {}
    for name in source.components:
        names = [
            match["variant"] for path in (source.folder / name).glob("*") if (match := _WEIGHTS.fullmatch(path.name))
        ]
        if names:
            found[name] = set(names)
    there = sorted({variant for variants in found.values() for variant in variants if variant})
    if source.variant is not None and source.variant not in there:
        raise UserError(
            f"hf_diffusers.variant={source.variant}: {source.name} has no such weights "
            f"(variants there: {', '.join(there) or 'none'})"
        )
    for name, variants in found.items():
        if None not in variants and source.variant not in variants:
            raise UserError(
                f"{option} {source.name}: {name} has its weights as {', '.join(sorted(filter(None, variants)))} only; "
                f"choose: --set hf_diffusers.variant={min(filter(None, variants))}"
            )


def _single_file(given: str, path: Path, config: Path | None) -> Source:
    if path.suffix not in (".safetensors", ".ckpt"):
        raise UserError(f"--checkpoint {given}: a single file is .safetensors or .ckpt; else give a folder")
    if config is not None:
        folder = find_source(str(config), "hf_diffusers.config").folder
    else:
        name = _configuration_of(path)
        place = _place(name)
        folder = place if place.is_dir() else _fetch(name, "hf_diffusers.config", None, None, settings_only=True)
    index: Mapping[str, Any] = json.loads((folder / INDEX).read_text("utf-8"))
    # No file of this kind has a safety checker in it.
    return Source(given, folder, str(index["_class_name"]), _parts(index), file=path).without("safety_checker")


def _parts(index: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Returns the parts that model_index.json names, but for those that were left out when it was saved."""
    pairs = {name: part for name, part in index.items() if isinstance(part, list) and not name.startswith("_")}
    return {name: part for name, part in sorted(pairs.items()) if len(part) == 2 and None not in part}


def _configuration_of(path: Path) -> str:
    """Returns the id of the model whose configuration fits a single file, as diffusers knows it by the names of its tensors."""
    diffusers_library()
    library: Any = importlib.import_module("diffusers.loaders.single_file_utils")
    try:
        found: Mapping[str, str] = library.fetch_diffusers_config(library.load_single_file_checkpoint(str(path)))
    except Exception as error:
        raise UserError(f"--checkpoint {path}: the file cannot be read ({first_line(error)}); copy it again") from error
    return found["pretrained_model_name_or_path"]


def _fetch(name: str, option: str, revision: str | None, variant: str | None, *, settings_only: bool = False) -> Path:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    diffusers = diffusers_library()
    try:
        with hub_within_reach(), listening():
            if settings_only:
                from huggingface_hub import snapshot_download

                return Path(snapshot_download(name, allow_patterns=[f"**/{p}" for p in _SETTINGS] + list(_SETTINGS)))
            return Path(diffusers.DiffusionPipeline.download(name, revision=revision, variant=variant))
    except GatedRepoError as error:
        raise AssetMissing(
            f"{option} {name} is gated: accept its licence on its page on the hub, log in (hf auth login), and repeat"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{option} {name}: the hub has no such model, or does not show it") from error
    except Exception as error:
        what = "its configuration" if settings_only else "a folder of all its parts"
        raise missing(
            f"the diffusers model {name}" + (f" at {revision}" if revision else ""),
            size=what,
            place=_place(name),
            instead=f"give a folder that has {INDEX}: {option} FOLDER"
            if option.startswith("--")
            else f"give a folder that has {INDEX}: --set {option}=FOLDER",
        ) from error


def _place(name: str) -> Path:
    return cache_folder() / "weights" / name


def _settings(folder: Path, components: tuple[str, ...]) -> dict[str, str]:
    """Returns what the configuration files say, but for where and by what they were saved."""
    files = [folder / INDEX]
    files += [path for name in components for pattern in _SETTINGS for path in sorted((folder / name).glob(pattern))]
    return {str(path.relative_to(folder)): _content(path) for path in files if not path.name.endswith(".index.json")}


def _content(path: Path) -> str:
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError:
            return sha256_file(path)
        if isinstance(content, dict) and not _SAID_OF_A_FOLDER.isdisjoint(content):
            kept = {key: value for key, value in content.items() if key not in _SAID_OF_A_FOLDER}
            return json.dumps(kept, sort_keys=True)  # A scheduler's configuration may hold -Infinity.
    return sha256_file(path)
