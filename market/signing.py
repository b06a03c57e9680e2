"""Node keys: Ed25519 signatures over tagged hashes; they prove origin, not truth."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from market.canonical import tagged_hash

REPORT_TAG = "gridbay/report/v1"
JOIN_TAG = "gridbay/join/v1"


class NodeKey:
    """The private key of a node."""

    def __init__(self, seed: bytes) -> None:
        """seed: 32 bytes (RFC 8032)."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def generate(cls) -> "NodeKey":
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        return self._key.private_bytes_raw()

    @property
    def public_hex(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, tag: str, body: bytes) -> str:
        """The signature of the body under that tag, 128 hexadecimal digits."""
        return self._key.sign(tagged_hash(tag, body)).hex()


def verify(public_hex: str, tag: str, body: bytes, signature_hex: str) -> bool:
    """Whether the signature is that key's over that body; malformed input is simply not valid."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
        key.verify(bytes.fromhex(signature_hex), tagged_hash(tag, body))
    except (InvalidSignature, ValueError):
        return False
    return True
