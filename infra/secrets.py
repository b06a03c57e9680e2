"""The platform's own key: seals customers' secrets at rest and signs storage URLs. It never leaves this module."""

import hashlib
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
KEY_BYTES = 32


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
        """The box of the key file (64 hexadecimal digits). Raises ValueError that says how to make one."""
        if path is None:
            raise ValueError("GRIDBAY_SECRET_KEY_FILE is not set; make one: openssl rand -hex 32 > key; chmod 600 key")
        if path.stat().st_mode & 0o077:
            raise ValueError(f"{path} can be read by others; chmod 600 it")
        return cls(bytes.fromhex(path.read_text().strip()))

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
