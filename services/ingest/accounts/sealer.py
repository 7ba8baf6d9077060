"""Small fields of auth.db that must come back in plain, sealed with AES-256-GCM.

Lives here: sealing and opening one field. Does not live here: what is sealed (`totp`), and passwords and tokens, of
which only digests are kept. The key hangs on a file beside the database's directory (`layout.auth_key`), so a copy of
auth.db alone tells nobody a second factor.
"""

import base64
import binascii
import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.secret_files import derived_key

VERSION = "v1"
NONCE_BYTES = 12
"""96 random bits (NIST SP 800-38D, 8.2.2): far below 2^32 fields are ever sealed under one key."""
KID_CHARS = 8


class SealedFieldError(RuntimeError):
    """A sealed field cannot be opened: another key, another field's place, or tampering. Names no content."""


class Sealer:
    """Seals under one key; `kid`, a piece of the key's SHA-256, tells fields that were sealed under another one."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        key = derived_key(secret, purpose)
        self._aead = AESGCM(key)
        self.kid = hashlib.sha256(b"dubline kid v1" + key).hexdigest()[:KID_CHARS]

    def seal(self, text: str, purpose: str, user_id: str) -> str:
        """Return `v1:<kid>:<Base64 of nonce and ciphertext>`; it opens only for the same purpose and user."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, text.encode(), _bound(purpose, user_id))
        return f"{VERSION}:{self.kid}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, purpose: str, user_id: str) -> str:
        """Return the text. Raises SealedFieldError."""
        version, _, rest = sealed.partition(":")
        kid, _, body = rest.partition(":")
        if version != VERSION:
            raise SealedFieldError("A sealed field has a form that this Dubline does not know.")
        if kid != self.kid:
            raise SealedFieldError(f"A field was sealed under key {kid[:KID_CHARS]}, and the key here is {self.kid}.")
        try:
            raw = base64.b64decode(body, validate=True)
            return self._aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(purpose, user_id)).decode()
        except (binascii.Error, InvalidTag, ValueError) as error:
            raise SealedFieldError("A sealed field was changed, or moved to another place.") from error


def _bound(purpose: str, user_id: str) -> bytes:
    return f"dubline {VERSION}\0{purpose}\0{user_id}".encode()
