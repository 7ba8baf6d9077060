"""People with accounts, and what each of them does on the sign-in page."""

import itertools
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import Page

from tests import local_http
from tests.dubbing_system import System

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    name: str
    password: str


def invited(system: System, role: str) -> str:
    """Return the token of an invite that this machine's operator made."""
    made = local_http.post(f"{system.url}/api/admin/invites", json={"role": role, "hours": 1}, timeout=10)
    made.raise_for_status()
    return str(made.json()["token"])


def new_person(system: System, role: str) -> Person:
    """Return somebody whose account was just made, from an address of their own: limits count each address."""
    number = next(_numbers)
    person = Person(f"{role}-{number}", "some words that nobody guesses")
    body = {"token": invited(system, role), "username": person.name, "password": person.password}
    transport = httpx.HTTPTransport(local_address=f"127.0.1.{number}")
    with httpx.Client(transport=transport, timeout=20) as client:
        client.post(f"{system.url}/api/invites/redeem", json=body).raise_for_status()
    return person


def show(page: Page, person: Person) -> None:
    """Fill the sign-in form and send it."""
    page.get_by_label("User name").fill(person.name)
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_in(page: Page, system: System, person: Person) -> Any:
    """Sign in and return the state of this browser."""
    page.goto(f"{system.url}/ui/login")
    show(page, person)
    page.wait_for_url("**/ui/jobs")
    return page.context.storage_state()


def sign_out(page: Page) -> None:
    page.locator("#menu summary").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/ui/login")
