"""`dubline admin`: arguments and exit codes of create, invite, list, reset-password.

Lives here: the command group. Does not live here: what the commands do (`admin_tools`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.ingest.accounts.invites import DEFAULT_HOURS, MAX_HOURS
from services.ingest.accounts.passwords import TYPED_MAX_CHARS
from services.standalone import admin_tools as tools
from services.standalone.cli_common import REFUSED, fail, load_settings
from shared.problems import Problem

admin = typer.Typer(no_args_is_help=True, help="Accounts, on this machine: create, invite, list, reset-password.")

Name = Annotated[str, typer.Argument(metavar="USERNAME", help="3 to 64 letters, digits, '.', '_' or '-'.")]


class Role(StrEnum):
    """What `role` may be; each may do what the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    EDITOR = "editor"
    ADMIN = "admin"


@contextmanager
def _working() -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        fail(problem.detail, REFUSED)
    except tools.FAILURES as error:
        fail(error)


@admin.command("create")
def admin_create(
    username: Name,
    *,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.ADMIN,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from the first line of the input.")
    ] = False,
) -> None:
    """Make a user, with a password that is asked for; the way to a first admin without the set-up page."""
    password = _from_input() if password_stdin else typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with _working():
        user = tools.create_user(load_settings(), username, password, role.value)
    print(f"{user.username} may sign in as {user.role}.")


@admin.command("invite")
def admin_invite(
    *,
    role: Annotated[Role, typer.Option(help="What the new user may do.")] = Role.VIEWER,
    hours: Annotated[int, typer.Option(min=1, max=MAX_HOURS, help="How long it is good.")] = DEFAULT_HOURS,
) -> None:
    """Print an address where one person makes an account of their own."""
    with _working():
        print(tools.invite(load_settings(), role.value, hours))


@admin.command("list")
def admin_list() -> None:
    """List the users."""
    with _working():
        found = tools.everyone(load_settings())
    table = Table("user", "role", "", "id", box=None, header_style="bold", pad_edge=False)
    for user in found:
        table.add_row(user.username, user.role, "disabled" if user.disabled else "", user.id)
    Console(soft_wrap=True).print(table)


@admin.command("reset-password")
def admin_reset_password(username: Name) -> None:
    """Print an address where the user chooses another password, once, within an hour. A second factor stays."""
    with _working():
        print(tools.reset_password(load_settings(), username))


def _from_input() -> str:
    return sys.stdin.readline(TYPED_MAX_CHARS + 1).rstrip("\r\n")
