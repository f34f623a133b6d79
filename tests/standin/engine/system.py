"""adapter: the catalogue views sys.* and INFORMATION_SCHEMA.*, with exactly the columns people use."""

from __future__ import annotations

from tests.standin.engine.model import State
from tests.standin.engine.tracking import Relation


def view(name: str, state: State) -> Relation | None:
    """The view by its qualified name in any case, such as "sys.tables"; None: there is no such view here.

    A column that is not in it is error 207, as for any other table: it would be guessed otherwise.
    """
    raise NotImplementedError
