"""What a device computes fastest in, by what it says of itself and not by habit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def fastest_dtype(device: str) -> Literal["fp32", "bf16"]:
    """Returns bf16 where there are units for it, else fp32.

    On CPUs with AVX-512 bf16 units bf16 convolutions were measured at twice the speed of fp32, with AMX at 4 to 8 times;
    without either they are emulated, and three to four times slower.
    """
    if device.startswith("cuda"):
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Says whether this CPU has bf16 units, and oneDNN was not told to leave them alone (``ONEDNN_MAX_CPU_ISA``)."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if "BF16" not in allowed and "AMX" not in allowed and allowed not in ("DEFAULT", "ALL"):
        return False
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an error is that a device's memory, or this machine's, was too small."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return "out of memory" in str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )
