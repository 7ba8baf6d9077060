"""The keys that sealed files are opened with, in memory.

Lives here: which key a file needs. Does not live here: reading them from files and the environment (`keys`).
"""

from dataclasses import dataclass, field

from shared.sealing.format import Cipher, Header, UnknownKeyError, key_id


@dataclass(frozen=True)
class Keyring:
    """At least one key of 32 bytes: the first seals, all open."""

    keys: tuple[bytes, ...] = field(repr=False)

    def begin(self, binding: str) -> tuple[Header, Cipher]:
        """Return the header and the cipher of a new file. Raises ValueError for an unusable binding."""
        header = Header.new(self.keys[0], binding)
        return header, Cipher(header, self.keys[0])

    def cipher(self, header: Header) -> Cipher:
        """Return the cipher of an existing file. Raises UnknownKeyError."""
        for key in self.keys:
            if key_id(key) == header.key_id:
                return Cipher(header, key)
        raise UnknownKeyError(f"the key {header.key_id.hex()} that the file was sealed with is not here")
