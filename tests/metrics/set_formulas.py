"""Set metrics as their papers write them: plain loops and whole matrices in float64, for few rows."""

import numpy as np


def cubic(x, y):
    return (x @ y / len(x) + 1) ** 3


def gaussian(x, y, sigma=10.0):
    return np.exp(-np.sum((x - y) ** 2) / (2 * sigma**2))


def mmd(xs, ys, kernel, *, unbiased):
    """Gretton et al. 2012, eq. 3 and 5, pair by pair."""
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)

    def mean(ones, others, same):
        pairs = [
            kernel(a, b) for i, a in enumerate(ones) for j, b in enumerate(others) if not (same and unbiased and i == j)
        ]
        return np.mean(pairs)

    return mean(xs, xs, True) + mean(ys, ys, True) - 2 * mean(xs, ys, False)


def prdc(drawn, real, k, k_density):
    """Kynkäänniemi et al. 2019, eq. 1 and 2; Naeem et al. 2020, eq. 4 and 5."""
    drawn, real = np.asarray(drawn, np.float64), np.asarray(real, np.float64)

    def distance(a, b):
        return np.sum((a - b) ** 2)

    def radius(rows, at, nth):
        return sorted(distance(rows[at], other) for i, other in enumerate(rows) if i != at)[nth - 1]

    narrow = [radius(real, i, k) for i in range(len(real))]
    wide = [radius(real, i, k_density) for i in range(len(real))]
    own = [radius(drawn, j, k) for j in range(len(drawn))]
    d = [[distance(y, x) for x in drawn] for y in real]
    rows, columns = range(len(real)), range(len(drawn))
    return {
        "precision": np.mean([any(d[i][j] <= narrow[i] for i in rows) for j in columns]),
        "recall": np.mean([any(d[i][j] <= own[j] for j in columns) for i in rows]),
        "density": sum(d[i][j] <= wide[i] for i in rows for j in columns) / (k_density * len(drawn)),
        "coverage": np.mean([any(d[i][j] <= wide[i] for j in columns) for i in rows]),
    }


def inception_score(logits):
    """Salimans et al. 2016, section 4, of one split."""
    wide = np.asarray(logits, np.float64)
    p = np.array([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in wide])
    q = p.mean(0)
    return np.exp(np.mean([sum(a * np.log(a / b) for a, b in zip(row, q, strict=True) if a > 0) for row in p]))
