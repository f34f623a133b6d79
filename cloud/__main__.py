"""shell: `python -m cloud`."""

from __future__ import annotations

from cloud.cli import main

raise SystemExit(main())
