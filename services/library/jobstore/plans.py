"""Which index serves a filter, and the exact total: decided by counting first, never by the planner's guess.

Lives here: SQL of places. Does not live here: reading rows (`queries`), what a filter is (`filters`), quoting a text
(`texts`).

The counting tables give the exact size of every combination of state, project, mode, tag and archive on every shelf
(`shelves`: a reader's own jobs, and the shared ones). So a page is a merge of those stretches of an index that are not
empty, each in its order already. Where they would be too many (a short piece of a project's name), the shelves are
walked, or the few matches are sorted. Every index is named and every join is a CROSS JOIN, so that neither ANALYZE nor
the lack of it changes a plan. Only an administrator's list is ever walked over all jobs.
"""

# ruff: noqa: S608 -- SQL made of names of our schema; values are parameters

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.jobstore.schema import ALL_JOBS, ARCHIVED_MARK, SHARED
from services.library.jobstore.shelves import EVERYTHING, Shelf, shelves_of
from services.library.jobstore.texts import ESCAPE, TextSearch, contains, search_for

MAX_STRETCHES = 48
"""More are not merged: compiling the statement would cost more than it saves."""

FEW = 5_000
"""So few matches are sorted rather than found by a walk, and searched for a text one by one."""

Parameters = dict[str, int | str]


class _Term(NamedTuple):
    """A statement without an order, and what it calls the place."""

    sql: str
    place: str = "place"


@dataclass(frozen=True)
class Plan:
    """`source`: a statement that gives `place`, one more than the page asks for; None if there is none to give."""

    source: str | None
    total: int
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """A filter with its project's name resolved to the names that there are; the parameters that all terms share."""

    filter: JobFilter
    shelves: tuple[Shelf, ...]
    projects: list[str] | None
    parameters: Parameters

    @property
    def is_open(self) -> bool:
        """Whether it asks for nothing but whose they are, the archive and a text."""
        asked = (self.filter.tag, self.filter.state, self.filter.mode, self.projects)
        return all(part is None for part in asked)

    @property
    def is_of_all(self) -> bool:
        """Whether it is about everybody's jobs."""
        return self.shelves == (EVERYTHING,)

    def condition(self, table: str) -> str:
        """Return the conditions that a table's own columns decide."""
        # IN and not <=: it lets an index go on to the columns behind.
        parts = [f"{table}.archived IN (0, 1)" if self.filter.include_archived else f"{table}.archived = 0"]
        if self.filter.state is not None:
            parts.append(f"{table}.state = :state")
        if self.filter.mode is not None:
            parts.append(f"{table}.mode = :mode")
        return " AND ".join(parts)

    def counted(self, table: str) -> str:
        """Return the condition for a counting table's rows of these shelves."""
        return f"{table}.shelf IN ({', '.join(f':shelf{number}' for number in range(len(self.shelves)))})"

    def on_shelf(self, number: int, table: str) -> str:
        """Return the condition for a row of an index to be on one of these shelves."""
        shelf = self.shelves[number]
        parts = [f"{table}.{shelf.column} = :whose{number}"] if shelf.column else []
        if shelf.is_shared:
            parts.append(f"{table}.{SHARED}")
        return " AND ".join(parts) or "1"


class _Stretch(NamedTuple):
    """Entries of an index that differ in their place alone; None: the index does not tell them apart."""

    shelf: str
    archived: int
    state: str | None
    mode: str | None
    project: str | None


def plan_page(connection: sqlite3.Connection, query: PageQuery) -> Plan:
    """Count the jobs of a filter and choose how to find the page, both in the caller's snapshot."""
    asked = _ask(connection, query.filter)
    text = (query.filter.text or "").strip()
    search = search_for(text) if text else None
    if asked.projects == [] or (text and search is None):
        return Plan(None, 0)
    total, stretches = _count(connection, asked)
    if not total:
        return Plan(None, 0)
    if search is None:
        terms = _terms(asked, total, stretches)
    else:
        terms = _search(asked, search, total, stretches)
        counted = " UNION ALL ".join(term.sql for term in terms)
        (total,) = connection.execute(f"SELECT count(*) FROM ({counted})", asked.parameters).fetchone()
    return _page(terms, total, query, asked.parameters)


def _ask(connection: sqlite3.Connection, wanted: JobFilter) -> _Asked:
    parameters: Parameters = {"tag": (wanted.tag or ALL_JOBS).lower()}
    shelves = shelves_of(wanted)
    for number, shelf in enumerate(shelves):
        parameters |= {f"shelf{number}": shelf.name, f"whose{number}": shelf.value}
    if wanted.state is not None:
        parameters["state"] = wanted.state
    if wanted.mode is not None:
        parameters["mode"] = wanted.mode
    asked = _Asked(wanted, shelves, None, parameters)
    if not wanted.project:
        return asked
    names = _names(connection, wanted.project, asked)
    return replace(asked, projects=names, parameters=parameters | {"projects": json.dumps(names)})


def _names(connection: sqlite3.Connection, part: str, asked: _Asked) -> list[str]:
    """Return the names of the projects that jobs of these shelves have and that have this part, in any case."""
    if search_for(part) is None:
        return []
    of_shelves = f"SELECT name FROM job_projects WHERE {asked.counted('job_projects')}"
    if part.isascii():
        pattern = asked.parameters | {"like": contains(part)}
        found = connection.execute(f"{of_shelves} AND name LIKE :like ESCAPE '{ESCAPE}'", pattern)
        return list(dict.fromkeys(name for (name,) in found))
    names = connection.execute(of_shelves, asked.parameters)  # LIKE knows the case of ASCII alone
    return list(dict.fromkeys(name for (name,) in names if part.lower() in name.lower()))


def _count(connection: sqlite3.Connection, asked: _Asked) -> tuple[int, list[_Stretch]]:
    """Return how many jobs there are, and the stretches that have any; none if they are too many."""
    if asked.projects is None:
        columns = "shelf, archived, state, mode, NULL"
        found = f"""FROM job_totals
            WHERE {asked.counted("job_totals")} AND tag = :tag AND {asked.condition("job_totals")}"""
    else:
        columns = "shelf, archived, state, mode, project"
        found = f"""FROM json_each(:projects) AS name CROSS JOIN job_counts
            WHERE {asked.counted("job_counts")} AND tag = :tag AND project = name.value
                AND {asked.condition("job_counts")}"""
        if len(asked.projects) > MAX_STRETCHES:
            (total,) = connection.execute(f"SELECT coalesce(sum(n), 0) {found}", asked.parameters).fetchone()
            return total, []
    rows = connection.execute(f"SELECT n, {columns} {found}", asked.parameters).fetchall()
    stretches = [_Stretch(*row) for _, *row in rows]
    too_many = len(stretches) > MAX_STRETCHES * len(asked.shelves)
    return sum(n for n, *_ in rows), [] if too_many else stretches


def _terms(asked: _Asked, total: int, stretches: list[_Stretch]) -> list[_Term]:
    """Return the statements whose results together are the places of all matching jobs."""
    if asked.is_open:
        stretches = sorted({_Stretch(stretch.shelf, stretch.archived, None, None, None) for stretch in stretches})
    if stretches:
        return [_stretch(asked, number, stretch) for number, stretch in enumerate(stretches)]
    if total <= FEW and asked.projects is not None:
        return [_gathered(asked, number) for number in range(len(asked.shelves))]
    return _walk(asked)


def _stretch(asked: _Asked, number: int, stretch: _Stretch) -> _Term:
    """Return the places of one stretch, in the order of its index."""
    at = [shelf.name for shelf in asked.shelves].index(stretch.shelf)
    if asked.filter.tag is not None:
        what = "state" if stretch.project is None else "project"
        sql = f"SELECT place FROM job_tags INDEXED BY {_index_of_tags(asked.shelves[at], what)} WHERE tag = :tag"
    else:
        what = "project" if stretch.project is not None else "archived" if stretch.state is None else "state"
        sql = f"SELECT place FROM job_index INDEXED BY job_index_{asked.shelves[at].indexes}by_{what} WHERE 1"
    if asked.shelves[at].column:
        sql += f" AND {asked.on_shelf(at, 'job_index' if asked.filter.tag is None else 'job_tags')}"
    for name, value in zip(stretch._fields[1:], stretch[1:], strict=True):
        if value is not None:
            asked.parameters[f"{name}{number}"] = value
            sql += f" AND {name} = :{name}{number}"
    return _Term(sql)


def _index_of_tags(shelf: Shelf, what: str) -> str:
    if shelf is EVERYTHING and what == "project":
        return "sqlite_autoindex_job_tags_1"
    return f"job_tags_{shelf.indexes}by_{what}"


def _gathered(asked: _Asked, at: int) -> _Term:
    """Return the few places of many projects on one shelf; they come in no order."""
    shelf, table = asked.shelves[at], "job_index" if asked.filter.tag is None else "job_tags"
    if table == "job_tags":
        from_ = f"job_tags INDEXED BY {_index_of_tags(shelf, 'project')}"
        where = f"tag = :tag AND {asked.condition('job_tags')}"
    else:
        from_ = f"job_index INDEXED BY job_index_{shelf.indexes}by_project"
        where = asked.condition("job_index")
    names = "json_each(:projects) AS name CROSS JOIN"
    on_shelf = f" AND {asked.on_shelf(at, table)}" if shelf.column else ""
    return _Term(f"SELECT place FROM {names} {from_} WHERE project = name.value AND {where}{on_shelf}")


def _walk(asked: _Asked, besides: str = "1") -> list[_Term]:
    """Return the places of these shelves, each in its order, of which every row is looked at."""
    where = f"{_all_conditions(asked)} AND {besides}"
    if asked.is_of_all:
        return [_Term(f"SELECT place FROM job_index NOT INDEXED WHERE {where}")]
    return [
        _Term(
            f"SELECT place FROM job_index INDEXED BY job_index_{shelf.indexes}by_archived"
            f" WHERE {asked.on_shelf(at, 'job_index')} AND job_index.archived = {archived} AND {where}"
        )
        for at, shelf in enumerate(asked.shelves)
        for archived in ((0, 1) if asked.filter.include_archived else (0,))
    ]


def _all_conditions(asked: _Asked) -> str:
    """Return every condition but the text, for one row of job_index."""
    parts = [asked.condition("job_index")]
    if asked.projects is not None:
        parts.append("job_index.project IN (SELECT name.value FROM json_each(:projects) AS name)")
    if asked.filter.tag is not None:
        same = " AND ".join(
            f"own.{name} = job_index.{name}" for name in ("archived", "project", "state", "mode", "place")
        )
        parts.append(f"EXISTS (SELECT 1 FROM job_tags AS own WHERE own.tag = :tag AND {same})")
    return " AND ".join(parts)


def _search(asked: _Asked, search: TextSearch, total: int, stretches: list[_Stretch]) -> list[_Term]:
    """Return the places of the jobs that have a text: among the few that the filter leaves, or of all that have it."""
    if search.phrase is not None and (total > FEW or not search.patterns):
        return [_full_text(asked, search.phrase)]
    like = " OR ".join(f"job_index.txt LIKE :like{n} ESCAPE '{ESCAPE}'" for n in range(len(search.patterns)))
    asked.parameters.update({f"like{n}": pattern for n, pattern in enumerate(search.patterns)})
    if total > FEW:
        return _walk(asked, f"({like})")
    few = " UNION ALL ".join(term.sql for term in _terms(asked, total, stretches))
    sql = f"SELECT job_index.place FROM ({few}) AS few CROSS JOIN job_index ON job_index.place = few.place"
    return [_Term(f"{sql} WHERE ({like})", "job_index.place")]


def _full_text(asked: _Asked, phrase: str) -> _Term:
    """Return the places of the jobs that have a phrase, in the full text's order."""
    hidden = "" if asked.filter.include_archived else f' NOT mark : "{ARCHIVED_MARK}"'
    asked.parameters["phrase"] = f"txt : {phrase}{hidden}"
    if asked.is_open and asked.is_of_all:
        return _Term("SELECT job_fts.rowid AS place FROM job_fts WHERE job_fts MATCH :phrase", "job_fts.rowid")
    shelves = " OR ".join(f"({asked.on_shelf(at, 'job_index')})" for at in range(len(asked.shelves)))
    sql = "SELECT job_index.place FROM job_fts CROSS JOIN job_index ON job_index.place = job_fts.rowid"
    where = f"job_fts MATCH :phrase AND ({shelves}) AND {_all_conditions(asked)}"
    return _Term(f"{sql} WHERE {where}", "job_fts.rowid")


def _page(terms: Sequence[_Term], total: int, query: PageQuery, parameters: Parameters) -> Plan:
    """Return the statement of one page: from the other end of the list where that is nearer."""
    limit, offset, direction, below = query.limit + 1, query.offset, "DESC", ""
    if query.before is not None:
        parameters["before"] = query.before
        below = "AND {place} < :before"
    elif offset >= total:
        return Plan(None, total)
    elif offset > total // 2:
        limit = min(limit, total - offset)
        offset, direction = total - offset - limit, "ASC"
    parameters |= {"limit": limit, "offset": offset}
    merged = " UNION ALL ".join(f"{term.sql} {below.format(place=term.place)}" for term in terms)
    order = "place" if len(terms) > 1 else terms[0].place
    return Plan(f"{merged} ORDER BY {order} {direction} LIMIT :limit OFFSET :offset", total, parameters)
