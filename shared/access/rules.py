"""Which credential a route asks for: one table for each service, and no route without a line in it.

Lives here: what a line can say, finding the line of a request, and the check that the table is whole. Does not live
here: the tables (`services.*.access`) and objects (`Principal.sees`, `Principal.changes`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from shared.access.principal import Scope
from shared.loopback import WEBSOCKET


class Open(Enum):
    """Lines that ask for something else than a scope."""

    PUBLIC = "public"
    """Nobody needs to be signed in."""
    SIGNED_IN = "signed in"
    """Any credential."""
    PERSON = "person"
    """A person's own session or token: no key, however wide, manages an account."""


PUBLIC, SIGNED_IN, PERSON = Open.PUBLIC, Open.SIGNED_IN, Open.PERSON

Rule = Open | Scope
Table = Mapping[str, Rule]
"""From `METHOD /path/{with}/parameters`, as the route writes it, to its rule. HEAD follows GET. A last segment
`{name:path}` stands for any number of segments. `WEBSOCKET` is a method."""


@dataclass
class _Node:
    fixed: "dict[str, _Node]" = field(default_factory=dict)
    any: "_Node | None" = None
    rest: "Rule | None" = None
    rule: "Rule | None" = None


class Rules:
    """A table, ready to be asked. Fixed segments win over parameters, these over the rest of a path."""

    def __init__(self, table: Table) -> None:
        self.table = dict(table)
        self._methods: dict[str, _Node] = {}
        for line, rule in table.items():
            method, _, path = line.partition(" ")
            node = self._methods.setdefault(method, _Node())
            for segment in path.split("/")[1:]:
                if segment.endswith(":path}"):
                    node.rest = rule
                    break
                if segment.startswith("{"):
                    node.any = node.any or _Node()
                    node = node.any
                else:
                    node = node.fixed.setdefault(segment, _Node())
            else:
                node.rule = rule

    def find(self, method: str, path: str) -> Rule | None:
        """Return the rule for a request, None where the table has no line: such a request is refused."""
        root = self._methods.get("GET" if method == "HEAD" else method)
        return None if root is None else _find(root, path.split("/")[1:], 0)

    def known(self, path: str) -> bool:
        """Return whether the table has this path under any method (to tell a wrong method from a wrong path)."""
        segments = path.split("/")[1:]
        return any(_find(root, segments, 0) is not None for root in self._methods.values())


def _find(node: _Node, segments: list[str], at: int) -> Rule | None:
    if at == len(segments):
        return node.rule
    fixed = node.fixed.get(segments[at])
    if fixed is not None and (found := _find(fixed, segments, at + 1)) is not None:
        return found
    if node.any is not None and (found := _find(node.any, segments, at + 1)) is not None:
        return found
    return node.rest


def lines_of(routes: Iterable[BaseRoute]) -> set[str]:
    """Return the lines that these routes need."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, WebSocketRoute):
            found.add(f"{WEBSOCKET} {route.path}")
        elif isinstance(route, Mount):
            found.add(f"GET {route.path}/{{path:path}}")
        elif isinstance(route, Route):
            found |= {f"{method} {route.path}" for method in route.methods or () if method != "HEAD"}
    return found


def check_whole(rules: Rules, routes: Iterable[BaseRoute]) -> None:
    """Raise ValueError for a route without a line and for a line without a route: at the start, not at a request."""
    needed = lines_of(routes)
    missing, idle = needed - set(rules.table), set(rules.table) - needed
    if missing or idle:
        raise ValueError(f"routes without a rule: {sorted(missing)}; rules without a route: {sorted(idle)}")
