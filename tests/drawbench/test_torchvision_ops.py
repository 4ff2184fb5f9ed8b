import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_open_clip_clean_fid_and_torchmetrics_import():
    """In a fresh process, after our module and nothing else."""
    names = "open_clip, cleanfid.fid, torchmetrics.image.fid, torchvision.transforms.v2"
    code = (
        f"from drawbench.torchvision_ops import declare_missing_ops as d; d(); import {names}; print('imported', d())"
    )
    assert run(code).startswith("imported")


def test_it_declares_nothing_where_the_operators_are_there():
    code = (
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "from drawbench.torchvision_ops import declare_missing_ops\n"
        "print(declare_missing_ops())"
    )
    assert run(code) == "False"
