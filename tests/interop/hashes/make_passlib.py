"""Prints hashes of passlib, with the costs that are its defaults: JSON lines of `{library, hash, password}`."""

import json

from passlib import hash

HASHERS = [
    hash.argon2,
    hash.bcrypt,
    hash.bcrypt.using(ident="2y"),
    hash.bcrypt_sha256,
    hash.bcrypt_sha256.using(version=1),
    hash.pbkdf2_sha1,
    hash.pbkdf2_sha256,
    hash.pbkdf2_sha512,
    hash.scrypt,
    hash.sha256_crypt,
    hash.sha512_crypt,
    hash.ldap_pbkdf2_sha1,
    hash.ldap_pbkdf2_sha256,
    hash.ldap_pbkdf2_sha512,
    hash.ldap_bcrypt,
    hash.ldap_sha512_crypt,
    hash.django_pbkdf2_sha256,
    hash.django_bcrypt,
    hash.django_bcrypt_sha256,
]

# The second one is not in NFC.
for password in ["correct horse battery", "cafe\u0301 au lait"]:
    for hasher in HASHERS:
        print(json.dumps({"library": f"passlib {hasher.name}", "hash": hasher.hash(password), "password": password}))
