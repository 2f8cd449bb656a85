"""What a loss may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlo.errors import ReadError


class View:
    """The values of a problem's own variable and of what it reads, by name; anything else raises `ReadError`.

    `view.name` and `view["name"]` are the same. A module is callable with its current weights.
    """

    __slots__ = ("_aliases", "_owner", "_used", "_values")

    def __init__(
        self,
        owner: str,
        values: Mapping[str, Any],
        aliases: Mapping[str, str] | None = None,
        *,
        used: set[str] | None = None,
    ) -> None:
        """Show `values` to the loss of problem `owner`; `aliases` are further names for some of them.

        The names of the values that are taken are put into `used`, if it is given.
        """
        self._owner, self._values, self._aliases, self._used = owner, values, aliases or {}, used

    def __getitem__(self, name: str) -> Any:
        """Return the value called `name`."""
        name = self._aliases.get(name, name)
        if name not in self._values:
            known = ", ".join(repr(key) for key in (*self._aliases, *self._values))
            raise ReadError(
                f"the loss of problem {self._owner!r} uses {name!r}, which it does not declare (it sees {known}): "
                f"add it to reads of {self._owner!r}, or correct the name"
            )
        if self._used is not None:
            self._used.add(name)
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        """Return the value called `name`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        """Tell whether the loss may use `name`."""
        return name in self._values or name in self._aliases

    def renamed(self, aliases: Mapping[str, str]) -> View:
        """Return the same view with further names for some of its values."""
        return View(self._owner, self._values, {**self._aliases, **aliases}, used=self._used)

    def __repr__(self) -> str:
        """List what can be seen."""
        return f"View of {self._owner!r}: {', '.join(self._values)}"
