"""shell: `python -m cdc`."""

from __future__ import annotations

from cdc.cli import main

raise SystemExit(main())
