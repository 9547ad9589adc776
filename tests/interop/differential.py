#!/usr/bin/env python3
"""CBC by other people's code: libgcrypt, OpenSSL's libcrypto for what that has not, and PyCryptodome, if
it is there, for key sizes that neither has.

Reads lines `SUITE KEY IV PLAINTEXT`, all but the name in hexadecimal, and answers each with the
ciphertext in hexadecimal, or with a dash where none of them has the cipher with such a key.
"""

import ctypes
import sys

try:
    from Crypto.Cipher import CAST, DES, DES3, Blowfish

    PYCRYPTODOME = {"Blowfish": Blowfish, "CAST5": CAST, "DES": DES, "DES3": DES3}
except ImportError:
    PYCRYPTODOME = {}

CBC = 3
GCRYPT = {
    ("AES", 16): "AES128",
    ("AES", 24): "AES192",
    ("AES", 32): "AES256",
    ("Camellia", 16): "CAMELLIA128",
    ("Camellia", 24): "CAMELLIA192",
    ("Camellia", 32): "CAMELLIA256",
    ("CAST5", 16): "CAST5",
    ("DES3", 24): "3DES",
    ("IDEA", 16): "IDEA",
    ("Serpent", 16): "SERPENT128",
    ("Serpent", 24): "SERPENT192",
    ("Serpent", 32): "SERPENT256",
    ("SM4", 16): "SM4",
    ("Twofish", 16): "TWOFISH128",
    ("Twofish", 32): "TWOFISH",
}


class Gcrypt:
    """Through the functions that libgcrypt's manual describes."""

    def __init__(self):
        self.lib = ctypes.CDLL("libgcrypt.so.20")
        self.lib.gcry_check_version.restype = ctypes.c_char_p
        self.lib.gcry_check_version(None)

    def encrypt(self, name, key, iv, text):
        lib, handle = self.lib, ctypes.c_void_p()
        algorithm = lib.gcry_cipher_map_name(name.encode())
        size = ctypes.c_size_t
        steps = [
            lambda: lib.gcry_cipher_open(ctypes.byref(handle), algorithm, CBC, 0),
            lambda: lib.gcry_cipher_setkey(handle, key, size(len(key))),
            lambda: lib.gcry_cipher_setiv(handle, iv, size(len(iv))),
        ]
        out = ctypes.create_string_buffer(len(text))
        steps.append(lambda: lib.gcry_cipher_encrypt(handle, out, size(len(text)), text, size(len(text))))
        try:
            for step in steps:
                if error := step():
                    sys.exit(f"differential: libgcrypt, {name}: error {error}")
        finally:
            lib.gcry_cipher_close(handle)
        return out.raw


class Crypto:
    """Through the EVP functions of OpenSSL."""

    def __init__(self):
        self.lib = ctypes.CDLL("libcrypto.so.3")
        self.lib.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p

    def encrypt(self, name, key, iv, text):
        lib = self.lib
        find = getattr(lib, f"EVP_{name}")
        find.restype = ctypes.c_void_p
        context = ctypes.c_void_p(lib.EVP_CIPHER_CTX_new())
        out, count = ctypes.create_string_buffer(len(text) + 32), ctypes.c_int()
        done = lib.EVP_EncryptInit_ex(context, ctypes.c_void_p(find()), None, key, iv)
        done = done and lib.EVP_CIPHER_CTX_set_padding(context, 0)
        done = done and lib.EVP_EncryptUpdate(context, out, ctypes.byref(count), text, len(text))
        lib.EVP_CIPHER_CTX_free(context)
        if not done or count.value != len(text):
            sys.exit(f"differential: libcrypto, {name}: it failed")
        return out.raw[: len(text)]


def pycryptodome(name, key, iv, text):
    module = PYCRYPTODOME[name]
    # PROTOCOL.md §3.4: DES takes seven bytes, and a zero byte behind them.
    key += b"\0" if name == "DES" else b""
    return module.new(key, module.MODE_CBC, iv).encrypt(text)


def main():
    gcrypt, crypto = Gcrypt(), Crypto()
    for line in sys.stdin:
        suite, *rest = line.rstrip("\n").split(" ")
        key, iv, text = (bytes.fromhex(part) for part in rest)
        if name := GCRYPT.get((suite, len(key))):
            print(gcrypt.encrypt(name, key, iv, text).hex())
        elif suite == "ARIA":
            print(crypto.encrypt(f"aria_{len(key) * 8}_cbc", key, iv, text).hex())
        elif suite == "Blowfish" and len(key) == 16:
            print(gcrypt.encrypt("BLOWFISH", key, iv, text).hex())
        elif suite in PYCRYPTODOME:
            print(pycryptodome(suite, key, iv, text).hex())
        else:
            print("-")


if __name__ == "__main__":
    main()
