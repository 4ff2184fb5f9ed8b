"""Real images on the real prompts: two Stable Diffusion systems, imported, scored and reported."""

import json
import subprocess
import sys

import pytest
import torch

from drawbench.torchvision_ops import declare_missing_ops

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A small seeded CLIP: its numbers mean nothing, its path through the suite is the real one."""
    declare_missing_ops()
    import open_clip

    path = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**json.loads(json.dumps(CONFIG))).state_dict(), path / "open_clip_pytorch_model.bin")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    return path


def drawbench(*arguments):
    command = [sys.executable, "-m", "drawbench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stable_diffusion_v1_writes_almost_no_quoted_text_right(shared, drawbench_csv, clip, tmp_path):
    images = shared / "drawbench" / "images"
    drawbench(
        *("run", "--prompts", f"drawbench={drawbench_csv}", "--category", "Text", "-o", tmp_path),
        *("--generator", "v14=folder", "--set", f"v14.path={images / 'stable-diffusion-v1-4'}"),
        *("--generator", "v15=folder", "--set", f"v15.path={images / 'stable-diffusion-v1-5'}"),
        *(
            "--metric",
            "text_rendering",
            "--metric",
            "image_stats",
            "--metric",
            "clip_score",
            "--set",
            f"clip_score.model={clip}",
        ),
    )
    drawbench("report", tmp_path / "v14-drawbench", tmp_path / "v15-drawbench", "-o", tmp_path / "report.json")
    scores = json.loads((tmp_path / "report.json").read_text())["scores"]
    for system in ("v14", "v15"):
        overall = {
            (row["metric"], row["output"]): row for row in scores if row["system"] == system and row["category"] is None
        }
        exact, similarity = overall["text_rendering", "exact"], overall["text_rendering", "similarity"]
        assert exact["n"] == 21
        assert exact["value"] <= 1 / 21
        assert 0.05 < similarity["value"] < 0.5
        assert similarity["interval"]["low"] > 0
        assert overall["image_stats", "width"]["value"] == 512
        assert overall["clip_score", "cosine"]["interval"] is not None


def test_all_200_images_come_in_whole(shared, drawbench_csv, tmp_path):
    path = shared / "drawbench" / "images" / "stable-diffusion-v1-4"
    given = ("--generator", "folder", "--set", f"folder.path={path}", "--name", "Stable Diffusion v1-4")
    out = drawbench("generate", *given, "--prompts", f"drawbench={drawbench_csv}", "-o", tmp_path / "run")
    assert "200 drawn of 200" in out
    assert "whole, 200 images planned" in drawbench("verify", tmp_path / "run")
