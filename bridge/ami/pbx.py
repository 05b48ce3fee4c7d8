"""What the links need to know of a PBX: a row of `pbxs` with its secret opened."""

from __future__ import annotations

import msgspec

from bridge.calls.model import Rules


class PbxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One PBX. `rules` is what the machine needs of it, and may change without the link noticing."""

    id: int
    enterprise_number: str
    name: str
    host: str
    port: int = 5038
    username: str
    secret: str
    tls: bool = False
    rules: Rules = Rules()

    def same_link(self, other: PbxRow) -> bool:
        """Whether a link made for `other` serves this row too."""
        return (self.host, self.port, self.username, self.secret, self.tls) == (
            other.host,
            other.port,
            other.username,
            other.secret,
            other.tls,
        )

    def __repr__(self) -> str:
        return f"<PBX {self.enterprise_number}/{self.name} {self.username}@{self.host}:{self.port}>"  # never its secret
