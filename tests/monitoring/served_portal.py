"""A portal that serves in a process of its own, and an operator's token for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServedPortal:
    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}
