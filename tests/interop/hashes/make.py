"""Prints hashes of Django, Werkzeug, argon2-cffi, bcrypt and pwdlib, with the costs that are their defaults: JSON lines of
`{library, hash, password}`."""

import json

import argon2
import bcrypt
import django
import werkzeug.security
from django.conf import settings
from django.contrib.auth import hashers
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

DJANGO = ["PBKDF2", "PBKDF2SHA1", "Argon2", "BCryptSHA256", "BCrypt", "Scrypt"]
settings.configure(PASSWORD_HASHERS=[f"django.contrib.auth.hashers.{name}PasswordHasher" for name in DJANGO])
django.setup()

# The second one is not in NFC.
for password in ["correct horse battery", "cafe\u0301 au lait"]:

    def made(library, hash):
        print(json.dumps({"library": library, "hash": hash, "password": password}))

    for hasher in hashers.get_hashers():
        made(f"Django {hasher.algorithm}", hasher.encode(password, hasher.salt()))
    for method in ["scrypt", "pbkdf2", "pbkdf2:sha1", "pbkdf2:sha512:1000"]:
        made(f"Werkzeug {method}", werkzeug.security.generate_password_hash(password, method))
    for kind in argon2.Type:
        made(f"argon2-cffi {kind.name}", argon2.PasswordHasher(type=kind).hash(password))
    salt = {"salt": b"0123456789abcdef", "time_cost": 3, "memory_cost": 65536, "parallelism": 4, "hash_len": 48}
    old = argon2.low_level.hash_secret(password.encode(), type=argon2.Type.I, version=0x10, **salt).decode()
    made("argon2-cffi version 0x10", old)
    made("argon2-cffi without a version", old.replace("v=16$", ""))
    for prefix in [b"2a", b"2b"]:
        made(f"bcrypt {prefix.decode()}", bcrypt.hashpw(password.encode(), bcrypt.gensalt(prefix=prefix)).decode())
    for hasher in [Argon2Hasher(), BcryptHasher()]:
        made(f"pwdlib {type(hasher).__name__}", PasswordHash([hasher]).hash(password))
