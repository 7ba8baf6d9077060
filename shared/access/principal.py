"""Who asks: a person or a program, with what their role and their credential let them do.

Lives here: roles, scopes and the judgement over one object. Pure. Does not live here: how a credential becomes a
principal (`resolution`), and which route asks for what (each service's `access`).
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Literal, cast, get_args

from pydantic import BaseModel, ConfigDict

from shared.events.envelope import Timestamp
from shared.events.library import Visibility
from shared.identity import LOCAL_OWNER

Role = Literal["viewer", "operator", "editor", "admin"]
"""Each may do what the one before it may."""
Scope = Literal["read:job", "submit:job", "edit:job", "admin:*"]
CredentialKind = Literal["session", "token", "key", "local"]

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ADDS: dict[Role, Scope] = {
    "viewer": "read:job",
    "operator": "submit:job",
    "editor": "edit:job",
    "admin": "admin:*",
}

EVERYBODY = "*"
"""Stands for the audience of an object that is shared with the whole installation."""


def scopes_of(role: Role) -> frozenset[Scope]:
    """Return every scope of a role."""
    return frozenset(_ADDS[each] for each in ROLES[: ROLES.index(role) + 1])


def granted(role: Role, asked: Iterable[str] | None) -> frozenset[Scope]:
    """Return what a credential that was limited to `asked` may do for its owner; None: all that the role may.

    A key never has more than its scopes, whoever owns it (predecessor fault B4), nor more than its owner has now.
    `admin:*` alone is the right to administer, and none of the others.
    """
    return scopes_of(role) if asked is None else scopes_of(role) & frozenset(cast(Iterable[Scope], asked))


class Principal(BaseModel):
    """One who asks. `user` is the owner of what they make; `credential` names what they showed, never its secret."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    user: str
    name: str
    role: Role
    scopes: frozenset[Scope]
    kind: CredentialKind
    credential: str
    """The id of the session, key or token family that was shown: what a revocation names."""
    expires_at: Timestamp | None = None
    confirmed_at: Timestamp | None = None
    """When this session last proved its password or second factor: what changes an account asks for a recent one."""
    networks: tuple[str, ...] = ()
    """From where the credential may be shown; empty: from anywhere."""

    def comes_from(self, address: str) -> bool:
        """Whether a request from this address may show the credential; an unknown address is in no network."""
        if not self.networks:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        client = getattr(client, "ipv4_mapped", None) or client
        return any(client in ip_network(network) for network in self.networks)

    @property
    def administers(self) -> bool:
        """Whether every object is theirs to see and to change."""
        return "admin:*" in self.scopes

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def sees(self, owner: str, visibility: Visibility) -> bool:
        """Whether an object may be read: owner, admin, or shared."""
        return owner == self.user or visibility == "shared" or self.administers

    def changes(self, owner: str) -> bool:
        """Whether an object may be changed: owner or admin; what is shared is shared for reading."""
        return owner == self.user or self.administers


def local_principal() -> Principal:
    """Return who holds this machine's own key (`local_key`): the operator of the installation."""
    return Principal(
        user=LOCAL_OWNER,
        name=LOCAL_OWNER,
        role="admin",
        scopes=scopes_of("admin"),
        kind="local",
        credential=LOCAL_OWNER,
    )
