"""An untrained Inception of clean-fid's own class, as published files have it: nothing of ours makes or names its weights."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from drawbench.torchvision_ops import declare_missing_ops


class Peer(NamedTuple):
    file: object
    """The state dict, with torchvision's names."""
    features: object
    """Maps (N, 3, 299, 299) in [0, 255] to (N, 2048), with the scaling of clean-fid's TorchScript."""


def clean_input(paths):
    """clean-fid's own resize of files, (N, 3, 299, 299) in [0, 255]."""
    from cleanfid.resize import build_resizer

    resize = build_resizer("clean")
    rows = [resize(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def make_peer(file, photographs):
    """Random weights; statistics of batch normalisation from photographs, so that features tell images apart."""
    declare_missing_ops()
    import torchvision
    from cleanfid import inception_pytorch as theirs

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        random = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, init_weights=False).state_dict()
        before, theirs.load_state_dict_from_url = theirs.load_state_dict_from_url, lambda *_, **__: random
        try:
            network = theirs.fid_inception_v3()
        finally:
            theirs.load_state_dict_from_url = before
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = None
                part.weight.data.uniform_(0.5, 1.5)
                part.bias.data.normal_(0, 0.3)
        network.train()
        with torch.no_grad():
            network((clean_input(photographs) - 128) / 128)
    torch.save(network.eval().state_dict(), file)
    network.fc = torch.nn.Identity()

    def features(images):
        with torch.no_grad():
            return network((images - 128) / 128)

    return Peer(file, features)
