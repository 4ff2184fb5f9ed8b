"""``python -m drawbench``."""

from drawbench.cli import main

main()
