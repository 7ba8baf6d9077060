"""Which credential a route asks for: one table for each service, and no route without a line in it.

Lives here: what a line can say, finding the line of a request, and the check that the table is whole. Does not live
here: the tables (`services.*.access`) and objects (`Principal.sees`, `Principal.changes`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from fastapi.routing import iter_route_contexts
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
    ADMIN_IN_PERSON = "admin in person"
    """An admin's own session or token, or this machine's own key, whose holder may write the accounts anyway: what lets
    somebody in outlives the credential that did it, so a key that was stolen must not be able to."""


PUBLIC, SIGNED_IN, PERSON, ADMIN_IN_PERSON = Open.PUBLIC, Open.SIGNED_IN, Open.PERSON, Open.ADMIN_IN_PERSON

Rule = Open | Scope
Table = Mapping[str, Rule]
"""From `METHOD /path/{with}/parameters`, as the route writes it, to its rule. What answers GET answers HEAD (`head`); a
route of HEAD alone has a line of its own. A last segment `{name:path}` stands for any number of segments. `WEBSOCKET`
is a method. A path that is written out, without parameters, is asked for with the methods that are written with it and
with no other: `/uploads/init` is no upload whose id is `init`."""


@dataclass
class _Node:
    fixed: "dict[str, _Node]" = field(default_factory=dict)
    any: "_Node | None" = None
    rest: "Rule | None" = None
    rule: "Rule | None" = None


class Rules:
    """A table, ready to be asked. Fixed segments win over parameters, these over the rest of a path."""

    def __init__(self, table: Table) -> None:
        """Raises ValueError for a line whose path cannot be compared segment by segment, as `/files/{name}.json`."""
        self.table = dict(table)
        self._methods: dict[str, _Node] = {}
        self._written_out: dict[str, set[str]] = {}
        for line, rule in table.items():
            method, _, path = line.partition(" ")
            if "{" not in path:
                self._written_out.setdefault(path, set()).add(method)
            node = self._methods.setdefault(method, _Node())
            for segment in path.split("/")[1:]:
                if "{" in segment and not (segment[0] == "{" and segment.find("}") == len(segment) - 1):
                    raise ValueError(f"{line}: a parameter must be a whole segment")
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
        found = self.own(method, path)
        return self.own("GET", path) if found is None and method == "HEAD" else found

    def own(self, method: str, path: str) -> Rule | None:
        """Return the rule that is written for this very method, HEAD included."""
        root = self._methods.get(method)
        if root is None or method not in self._written_out.get(path, {method}):
            return None
        return _find(root, path.split("/")[1:], 0)

    def methods(self, path: str) -> set[str]:
        """Return what a path may be asked for (to tell a wrong method from a wrong path)."""
        found = {method for method in self._methods if method != WEBSOCKET and self.own(method, path) is not None}
        return found | {"HEAD"} if "GET" in found else found


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
    """Return the lines that these routes need, those of included routers among them."""
    found: set[str] = set()
    for context in iter_route_contexts(list(routes)):
        if isinstance(context.original_route, WebSocketRoute):
            found.add(f"{WEBSOCKET} {context.path}")
        elif isinstance(context.original_route, Mount):
            found.add(f"GET {context.path}/{{path:path}}")
        elif isinstance(context.original_route, Route):
            methods = context.methods or set()
            found |= {f"{method} {context.path}" for method in methods if method != "HEAD" or "GET" not in methods}
    return found


def check_whole(rules: Rules, routes: Iterable[BaseRoute]) -> None:
    """Raise ValueError for a route without a line and for a line without a route: at the start, not at a request."""
    needed = lines_of(routes)
    missing, idle = needed - set(rules.table), set(rules.table) - needed
    if missing or idle:
        raise ValueError(f"routes without a rule: {sorted(missing)}; rules without a route: {sorted(idle)}")
