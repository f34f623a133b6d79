"""What Microsoft's 2019 grammar refuses although the server takes it: each with its reason and the page that says so.

`pattern` is replaced by `replacement` before parsing, so that the rest of the batch is still checked. An exemption that nothing
in a whole run needed fails the run: take it out.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Exemption(NamedTuple):
    pattern: re.Pattern[str]
    replacement: str
    reason: str
    link: str


EXEMPTIONS: tuple[Exemption, ...] = ()
