"""The platform's own key: seals customers' secrets at rest and signs storage URLs. It never leaves this module."""

import hashlib
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from market.errors import InvalidInput

_NONCE_BYTES = 12
KEY_BYTES = 32
_MAKE_ONE = "make one: openssl rand -hex 32 > key; chmod 600 key"


class SecretBox:
    """Authenticated encryption (AES-256-GCM) and signatures (HMAC-SHA-256) under keys derived from one secret."""

    def __init__(self, key: bytes) -> None:
        """key: 32 random bytes."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the secret key has {len(key)} bytes, {KEY_BYTES} are needed")
        self._cipher = AESGCM(hmac.digest(key, b"gridbay/seal/v1", hashlib.sha256))
        self._signing_key = hmac.digest(key, b"gridbay/sign/v1", hashlib.sha256)

    @classmethod
    def from_file(cls, path: Path | None) -> "SecretBox":
        """The box of the key file (64 hexadecimal digits). Raises InvalidInput that says how to make one."""
        if path is None:
            raise InvalidInput("GRIDBAY_SECRET_KEY_FILE is not set", remedy=_MAKE_ONE)
        try:
            if path.stat().st_mode & 0o077:
                raise InvalidInput(f"GRIDBAY_SECRET_KEY_FILE: {path} can be read by others", remedy=f"chmod 600 {path}")
            return cls(bytes.fromhex(path.read_text().strip()))
        except OSError as error:
            detail = f"GRIDBAY_SECRET_KEY_FILE: {path}: {error.strerror}"
            raise InvalidInput(detail, remedy=_MAKE_ONE) from None
        except ValueError:
            detail = f"GRIDBAY_SECRET_KEY_FILE: {path} does not hold {2 * KEY_BYTES} hexadecimal digits"
            raise InvalidInput(detail, remedy=_MAKE_ONE) from None

    @staticmethod
    def generate_key() -> str:
        """A fresh key in the form the key file has."""
        return secrets.token_hex(KEY_BYTES)

    def seal(self, plaintext: str, context: str) -> bytes:
        """Encrypt; `context` (such as the owner's id and the name) must be given again to open it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """Decrypt. Raises ValueError when it was sealed by another key, for another context, or changed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode()).decode()
        except InvalidTag:
            raise ValueError("this secret was sealed under another key or for another owner") from None

    def sign(self, message: bytes) -> str:
        """A signature only this market can make, 64 hexadecimal digits."""
        return hmac.digest(self._signing_key, message, hashlib.sha256).hex()

    def verify(self, message: bytes, signature: str) -> bool:
        return hmac.compare_digest(self.sign(message), signature)
