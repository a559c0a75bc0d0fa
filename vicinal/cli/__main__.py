"""`python -m vicinal.cli` is `vicinal`."""

from __future__ import annotations

from vicinal.cli import main

if __name__ == "__main__":
    main()
