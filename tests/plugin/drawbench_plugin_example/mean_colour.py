"""How far a set's mean colour is from a reference grey: one value per set, on a network that only averages."""

import numpy as np

from drawbench.interfaces import Output


def mean_colour(*, reference: str | None = None, scale: float = 255.0):
    return MeanColour(float(reference or 0.0), scale)


class MeanColour:
    outputs = {"distance": Output(False, "set", main=True)}

    def __init__(self, reference, scale):
        self.reference, self.network = reference, Average(scale)

    def protocol(self):
        return {"reference": str(self.reference), "network": self.network.key}

    def compute(self, features):
        return {"distance": float(features.astype(np.float64).mean() - self.reference)}

    def leave_out(self, features, groups):
        parts = [self.compute(features[groups != group])["distance"] for group in np.unique(groups)]
        return {"distance": np.array(parts)}


class Average:
    def __init__(self, scale):
        self.scale, self.key = scale, f"average-{scale}"

    def __call__(self, images):
        return images.double().mean((2, 3)).mean(1, keepdim=True) / self.scale
