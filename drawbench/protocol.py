"""The identity of a number: everything that can move it, as canonical JSON, and the hash of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from drawbench.interfaces import MetricProtocol


def canonical_json(value: Any) -> str:
    """Returns one text for equal values: keys sorted, no blanks, UTF-8 not escaped; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Returns the sha256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def make_protocol(fields: Mapping[str, Any]) -> MetricProtocol:
    """Returns the protocol of a number from all that can move it."""
    return MetricProtocol(digest(fields), dict(fields))


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns the fields in which two identities differ, as ``field → (a's, b's)``; absent is None."""
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}
