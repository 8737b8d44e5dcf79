use proptest::prelude::*;

use super::*;

const PASSWORD: &str = "correct horse";

/// Made by the libraries, with low costs, of [`PASSWORD`].
const OF_LIBRARIES: [&str; 36] = [
    // Django 5.2.
    "pbkdf2_sha256$1000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=",
    "pbkdf2_sha1$1000$Xq3sEasalt$OT602/5094iK99JNj1cwitogK2Y=",
    "scrypt$1024$Xq3sEasalt$8$5$w7baGRyVwCI++0JcByDJEPUUt1Y6FJayggeUQa/E2oXkXy+M5qji+5FJgZ3pl5oSZ1MQbHZ0xYJJ6ZRFLZ1SPA==",
    "argon2$argon2id$v=19$m=64,t=2,p=4$WHEzc0Vhc2FsdA$0kVXduXcqC8pAfrjmC/ki2A5/XWCpfCZtuIrBSTiySI",
    "bcrypt$$2b$04$HNE/GT7yxVz236NRkPLWreDw/q4B1E/wswoiqQOKlAoZ/vC5xh4Iq",
    "bcrypt_sha256$$2b$04$WYdOGjrE1COcRLMC9FkpEOixQ/aXOEek.VtWJgdbeqCw0htVs.ZE6",
    // Werkzeug 3.1.
    "scrypt:1024:8:1$eYixhNnd$f6f98de2aa0f7d75fcd19c331f132597441681269f269cef0962b4b63ba0e3b9a02c26c11b89a3658148f6c71a4d47ad98398c56db3189788fa06b1d67c462d5",
    "pbkdf2:sha256:1000$HRYLprN3$ee63598d31f1dfd753c72a23f759441d677552e2da5849b9cfa4b17798ade4fd",
    "pbkdf2:sha1:1000$V1bhDVFy$fc7a367fbd54c9d3f35061aaf8d2d1e5a9dcd82b",
    "pbkdf2:sha512:1000$qF51PGFs$994dd64a8d8709c2879f75aa2ba01d5faee1355ea318598115055aa023d89ba677ae397f34b9c296374ecf76951de6742baa8496627faabcb3c3d744eaca0896",
    // argon2-cffi 25.1: both versions, several lanes, short and long output.
    "$argon2i$v=16$m=64,t=2,p=2$c29tZXNhbHQwMTIz$CWt27et5WdSbc3pdxbR8omekB7wrYh3w",
    "$argon2i$v=19$m=64,t=2,p=2$c29tZXNhbHQwMTIz$cM/OTTuiG0CZ/VXwWtYu/LNrQELiBhjF",
    "$argon2d$v=16$m=64,t=2,p=2$c29tZXNhbHQwMTIz$1NKuTKReoVIbhjrf6AG0EkHP+45qFwgD",
    "$argon2d$v=19$m=64,t=2,p=2$c29tZXNhbHQwMTIz$mitneP88SDIfLxZkonaPv0vN7HZi//wN",
    "$argon2id$v=16$m=64,t=2,p=2$c29tZXNhbHQwMTIz$cOHzZV7JaRPmQ8JUHvlKk20Il36jzNgb",
    "$argon2id$v=19$m=64,t=2,p=2$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$x4ersw",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$GpO6Yss1n0WITsxyb6x6RPZkpHEqIIHGrrFNi00lHivwwMIFv2uuIzFTi5JTw2qH5YZcWpSSGgj5LjEPxT5EZwu8jh+Xs56fkhxPWVsdmFS/rI3qydJuhBoGpRRuGCq7KAQsCsnK4yEcAmyuqckucw",
    // Without a version: 0x10. And as LDAP stores it.
    "$argon2i$m=64,t=2,p=2$c29tZXNhbHQwMTIz$CWt27et5WdSbc3pdxbR8omekB7wrYh3w",
    "{ARGON2}$argon2id$v=19$m=64,t=2,p=2$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
    // passlib 1.7.4.
    "$bcrypt-sha256$v=2,t=2b,r=4$6sqOO3q4oKerndEXo4iRD.$ss/0wUoJz33fskYUBv2ARpjKkaIWZae",
    "$bcrypt-sha256$2b,4$c0TjFxfkHxxZoO7ZSNVPV.$MEMFTJdW8g.JdYHJp/R/xTol9ccUH76",
    "$2y$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS",
    "{CRYPT}$2b$04$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLIF6",
    "$pbkdf2$1000$TGmNkdJai7GW8r6XUuq9Fw$uM4Hzg8Ps5fB.WhYibA1kVVmWG0",
    "$pbkdf2-sha256$1000$AWBsLaU0xtg7R6gVYmwNQQ$OGYC2AwIklj6Ia1AC6csBwKBP1SAHeIW04YFMX0kU4w",
    "$pbkdf2-sha512$1000$XyvlXIsRIiQEgPDe21vLGQ$EG0dkFiV0akhNiVKqwzKBmDKvTDTu9EKujvvAAljvszwjGRKfIqrOgP..ge.dYDF/MHiO.7THBR.9em4mgP/3A",
    "{PBKDF2-SHA256}1000$OicEoFQqxbi31noPYQzhvA$/0r5JuKpqUL/jcECjNRS3oa856HAt74gdK0Do0cze9E",
    "{PBKDF2}1000$JsR4710LgdAaQyhFKMVYKw$2mIhRahxZ2sczNArF3Um/McxpKw",
    "$scrypt$ln=10,r=8,p=1$/18LoZRyjhGiFGKs9Z4zpg$IviVP08QZsB9pdMC16D9Tbka40SlLeFaxH7SpX1lvms",
    "$5$rounds=1000$5nQuCAyY3BFn7Sr9$l5WjtgjARL2gnxzCZG2v829.qqWfH0SmIYrWVDZJEPD",
    "$6$E9gRKfpxIA7Axfcr$dl7zc8uF7dtt2qIBfpiPwtn1GkEejtyPQC0y4w8tiwwIx2fSZfMNfv1s4JNtrO/GZpT6JEDyzcavXTsWKe2tr1",
    "{CRYPT}$6$rounds=1000$TAIxecVumMKhKwm/$cDfR2AD.HWdw8lr7yVRfzawXMwKC6qkLsEiYODzylwjLvTEJO3v1KZjtg52RK6KKQQ7YR540m.u.xiU7xrFeI1",
    "{crypt}$6$E9gRKfpxIA7Axfcr$dl7zc8uF7dtt2qIBfpiPwtn1GkEejtyPQC0y4w8tiwwIx2fSZfMNfv1s4JNtrO/GZpT6JEDyzcavXTsWKe2tr1",
    // The form of Kratos: iterations with a name, and N itself instead of its logarithm; with and without padding.
    "$pbkdf2-sha256$i=1000,l=32$AWBsLaU0xtg7R6gVYmwNQQ$OGYC2AwIklj6Ia1AC6csBwKBP1SAHeIW04YFMX0kU4w",
    "$scrypt$ln=1024,r=8,p=1$/18LoZRyjhGiFGKs9Z4zpg==$IviVP08QZsB9pdMC16D9Tbka40SlLeFaxH7SpX1lvms=",
];

/// Published vectors, with their passwords.
const PUBLISHED: [(&str, &str); 14] = [
    // jBCrypt.
    ("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", ""),
    ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
    ("$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.", "abcdefghijklmnopqrstuvwxyz"),
    // The specification of SHA-crypt.
    ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
    ("$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA", "Hello world!"),
    (
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        "Hello world!",
    ),
    (
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
        "Hello world!",
    ),
    // RFC 7914 §12.
    (
        "scrypt:16384:8:1$SodiumChloride$7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
        "pleaseletmein",
    ),
    // RFC 6070.
    ("pbkdf2:sha1:4096$salt$4b007901b765489abead49d926f721d065a429c1", "password"),
    // Exported realms of Keycloak: hashes of its default key length of 32 bytes and of 64 before, PBKDF2 and Argon2.
    ("$pbkdf2-sha256$i=27500,l=32$P5rtFkGtPfoaryJ6PizUJw==$JsfNbCOIdZUbyBJ+BT+VoGI91Ec2rWLOvkLPDaX8e9k=", "password"),
    (
        "$pbkdf2-sha256$i=27500,l=64$H1Yjwf5UUIip/deJSkNJ+Q==$gI7lGJLNUQfn6xcMUtLp0XnOIF3JdaoAj8IogosYZsDg4Q5cFxG5JkJrKZpR7mIG5MxlH346ikZKsiZovvFKDQ==",
        "user1",
    ),
    (
        "$pbkdf2-sha512$i=210000,l=64$CVjSQwO3bRYQIZC95+2UvQ==$5oS6wHpjW6lZ7PS25rHXFGXqwc31BBsIKPL3ePl/3a1LTm44ZD4dTT2d0tRLE4XK0DCLASa00fHSVRlMlcuh4Q==",
        "password",
    ),
    ("$argon2id$v=19$m=7168,t=5,p=1$LRScGShC7shkdoU5B1UgUQ$xKjWvB9+0sSP6wTqI1JoEI7w+iA0x9VDhPgmrOHRG80", "secret"),
    // bcrypt reads 72 bytes of a password.
    (
        "$2b$04$rRO5mw61Eslw7b.eaOL9/uPNEjrHrX.SsUMspjL/vs.SZEGKHccyS",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, and what follows",
    ),
];

/// The example of firebase/scrypt, with the password `user1password`.
const FIREBASE: &str = "$firescrypt$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==$Bw==$jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";

fn verify(hash: &str, password: &str) -> bool {
    let foreign = Foreign::parse(hash).unwrap_or_else(|refused| panic!("{hash}: {refused}"));
    foreign.verify(password.as_bytes(), None, &mut Memory::default(), 0).unwrap()
}

fn refusal(hash: &str) -> RefusedHash {
    check_imported(hash).err().unwrap_or_else(|| panic!("{hash} is accepted"))
}

#[test]
fn hashes_of_libraries_are_verified() {
    for hash in OF_LIBRARIES {
        assert!(verify(hash, PASSWORD), "{hash}");
        assert!(!verify(hash, "correct horse battery"), "{hash}");
        assert_eq!(check_imported(&format!(" {hash}\n")).unwrap().text, hash);
    }
}

#[test]
fn published_hashes_are_verified() {
    for (hash, password) in PUBLISHED {
        assert!(verify(hash, password), "{hash}");
        assert!(!verify(hash, "wrong"), "{hash}");
    }
}

#[test]
fn a_firebase_hash_names_its_key() {
    let imported = check_imported(FIREBASE).unwrap();
    let key = imported.firebase_key.unwrap();
    assert!(imported.text.contains(&key.id()) && !imported.text.contains("jxspr8Ki"), "{}", imported.text);
    assert!(!format!("{key:?}").contains("143"), "{key:?}");

    let hash = Foreign::parse(&imported.text).unwrap();
    assert_eq!(hash.firebase_key(), Some(&*key.id()));
    let key = FirebaseKey::from_bytes(secrecy::ExposeSecret::expose_secret(&key.to_bytes())).unwrap();
    for (password, is_right) in [("user1password", true), ("user2password", false)] {
        assert_eq!(hash.verify(password.as_bytes(), Some(&key), &mut Memory::default(), 0), Ok(is_right));
    }
    hash.verify(b"user1password", None, &mut Memory::default(), 0).unwrap_err();
    // Back to where it came from, and the same from Supabase.
    assert_eq!(hash.text_with_key(&key).unwrap(), FIREBASE);
    let supabase = FIREBASE.split('$').collect::<Vec<_>>();
    let supabase =
        format!("$fbscrypt$v=1,n=14,r=8,p=1,ss={},sk={}${}${}", supabase[5], supabase[6], supabase[3], supabase[4]);
    assert_eq!(check_imported(&supabase).unwrap().text, imported.text);
}

#[test]
fn insignificant_bits_of_bcrypt_are_ignored() {
    // The last characters of salt and digest, with other insignificant bits.
    assert!(verify("$2y$04$DSanBtXLkDogAJ9tbSqPJ/LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpT", PASSWORD));
}

#[test]
fn unaccepted_hashes_are_refused_by_name() {
    for (hash, name) in [
        ("$1$aN21E45C$3f/2xKAvs9Anmh1hK2mHG.", "MD5-crypt"),
        ("{CRYPT}$1$aN21E45C$3f/2xKAvs9Anmh1hK2mHG.", "MD5-crypt"),
        ("$apr1$246bI/Fe$6nVlsAHvxG6GQWr8MfH6d.", "MD5-crypt"),
        ("$2$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS", "bcrypt of version 2"),
        ("$2x$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS", "bcrypt of version 2x"),
        ("bcrypt$$2x$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS", "bcrypt of version 2x"),
        ("md5$salt$de8498eb12b0309737310c8971cfc7a2", "MD5"),
        ("sha1$salt$e8498eb12b0309737310c8971cfc7a2a", "SHA-1"),
        ("$sha1$480000$UyejoG7H$M4NEqnypmLtLax15ZUHmbimB/3Q2", "SHA-1"),
        ("{SSHA}LAIKfy7rAPdXtL10Jw5m1EyR2rD5o1Tc", "salted SHA-1"),
        ("{ssha512}LAIKfy7rAPdXtL10Jw5m1EyR2rD5o1Tc", "salted SHA-512"),
        ("{CRYPT}ESz5EHz9MJl7I", "DES crypt"),
        ("ESz5EHz9MJl7I", "DES crypt"),
        ("_7C/.IxTGisHeVIzg6A.", "DES crypt"),
        ("$P$HuXhFtmkeMaoww38PxJjtYLxHSBh4H0", "MD5 (phpass)"),
        ("cfc43211ba8dc470832267827cac1407", "MD5"),
        ("E8498EB12B0309737310C8971CFC7A2A01234567", "SHA-1"),
        ("plain$hunter2hunter2", "plain text"),
        (
            "$argon2id$v=19$m=64,t=2,p=2,keyid=Hj5+dsK0$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
            "Argon2 with a secret key or associated data",
        ),
        (
            "$argon2id$v=19$m=64,t=2,p=2,data=Hj5+dsK0$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
            "Argon2 with a secret key or associated data",
        ),
    ] {
        assert_eq!(refusal(hash), RefusedHash::Unsupported(name), "{hash}");
        assert!(!refusal(hash).to_string().contains(hash));
    }
    for unusable in ["", "!", "!4f5QV9bC3WtJvjLow7X0hypnpbCCLpcX3BO0qGxy", "*"] {
        assert_eq!(refusal(unusable), RefusedHash::Unusable);
    }
    for unknown in ["hunter2hunter2", "$", "$$", "{", "}", "{}", "pbkdf2$1000$salt$aaaa", &"$2b$".repeat(300)] {
        assert_eq!(refusal(unknown), RefusedHash::Unknown, "{unknown}");
    }
}

#[test]
fn malformed_hashes_are_refused() {
    for malformed in [
        "$argon2id$v=20$m=64,t=2,p=2$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
        "$argon2id$v=19$m=64,t=2$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
        "$argon2id$v=19$m=64,m=64,t=2,p=2$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
        "$argon2id$v=19$m=64,t=2,p=2$c29tZXNhbHQwMTIz",
        "$2b$04$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLIF",
        "$2b$04$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLé6",
        "$2b$4$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLIF6",
        "$bcrypt-sha256$v=2,t=2x,r=4$6sqOO3q4oKerndEXo4iRD.$ss/0wUoJz33fskYUBv2ARpjKkaIWZae",
        "pbkdf2:sha256$HRYLprN3$ee63598d31f1dfd753c72a23f759441d677552e2da5849b9cfa4b17798ade4fd",
        "pbkdf2:sha256:1000$HRYLprN3$ee63598d31f1dfd753c72a23f759441d677552e2da5849b9cfa4b17798ade4f",
        "$pbkdf2-sha256$i=1000,l=64$AWBsLaU0xtg7R6gVYmwNQQ$OGYC2AwIklj6Ia1AC6csBwKBP1SAHeIW04YFMX0kU4w",
        "pbkdf2_sha256$+1000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=",
        "scrypt:1025:8:1$eYixhNnd$f6f98de2aa0f7d75fcd19c331f132597441681269f269cef0962b4b63ba0e3b9",
        "$5$rounds=1000$toolongtoolongtoolong$l5WjtgjARL2gnxzCZG2v829.qqWfH0SmIYrWVDZJEPD",
        "$5$rounds=1000$$l5WjtgjARL2gnxzCZG2v829.qqWfH0SmIYrWVDZJEPD",
        "$5$rounds=1000$5nQuCAyY3BFn7Sr9$l5WjtgjARL2gnxzCZG2v829.qqWfH0SmIYrWVDZJEPE",
        "$firebase-scrypt$ln=14,r=8,p=1$key$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1Q=",
    ] {
        assert!(matches!(refusal(malformed), RefusedHash::Malformed(_)), "{malformed}");
    }
}

#[test]
fn each_parameter_has_its_bounds() {
    let argon2 = |m, t, p| format!("$argon2id$v=19$m={m},t={t},p={p}$c29tZXNhbHQ$x4ersw");
    let bcrypt = |cost| format!("$2b${cost:02}$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLIF6");
    let pbkdf2 = |rounds| format!("pbkdf2_sha256${rounds}$salt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=");
    let hash = "IviVP08QZsB9pdMC16D9Tbka40SlLeFaxH7SpX1lvms";
    let scrypt = |n, r, p| format!("scrypt${n}$salt${r}${p}${hash}=");
    let ln = |ln| format!("$scrypt$ln={ln},r=8,p=1$c29tZXNhbHQ${hash}");
    let crypt = |rounds| format!("$5$rounds={rounds}$salt$l5WjtgjARL2gnxzCZG2v829.qqWfH0SmIYrWVDZJEPD");
    let huge = u64::MAX;
    for allowed in [
        argon2(262_144, 10, 16),
        argon2(8, 1, 1),
        bcrypt(15),
        pbkdf2(10_000_000),
        scrypt(131_072, 8, 10),
        ln(17),
        ln(131_072),
        crypt(1_000_000),
    ] {
        check_imported(&allowed).unwrap_or_else(|refused| panic!("{allowed}: {refused}"));
    }
    for refused in [
        argon2(262_145, 1, 1),
        argon2(huge, 1, 1),
        argon2(4_294_967_304, 1, 1),
        argon2(7, 1, 1),
        argon2(64, 11, 1),
        argon2(64, 0, 1),
        argon2(512, 1, 17),
        argon2(64, 1, 0),
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$x4ersw".to_owned(),
        format!("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ${}", "A".repeat(700)),
        bcrypt(16),
        bcrypt(31),
        bcrypt(3),
        pbkdf2(10_000_001),
        pbkdf2(0),
        pbkdf2(huge),
        format!("$pbkdf2-sha256$10000000$c29tZXNhbHQ${}", "A".repeat(128)),
        format!("pbkdf2_sha256$1000${}$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=", "s".repeat(257)),
        "pbkdf2_sha256$1000$salt$AAAA".to_owned(),
        scrypt(262_144, 8, 1),
        scrypt(1, 8, 1),
        scrypt(1024, 9, 1),
        scrypt(1024, 8, 11),
        scrypt(1024, 0, 1),
        scrypt(huge, 8, 1),
        ln(18),
        ln(31),
        ln(32),
        ln(64),
        ln(262_144),
        crypt(999),
        crypt(1_000_001),
        crypt(999_999_999),
        FIREBASE.replace("ln=14", "ln=18"),
        FIREBASE.replace("r=8", "r=1024"),
        FIREBASE.replace("p=1", "p=11"),
    ] {
        assert!(matches!(refusal(&refused), RefusedHash::OutOfBounds { .. }), "{refused}: {}", refusal(&refused));
    }
}

#[test]
fn cheap_hashes_are_told_from_expensive_ones() {
    // The default parameters of this server's own.
    let own = argon2_nanoseconds(19 << 10, 2);
    for cheap in OF_LIBRARIES {
        assert!(Foreign::parse(cheap).unwrap().nanoseconds() < own, "{cheap}");
    }
    for expensive in [
        "pbkdf2_sha256$1000000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=",
        "$2b$12$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLIF6",
        "$scrypt$ln=16,r=8,p=1$/18LoZRyjhGiFGKs9Z4zpg$IviVP08QZsB9pdMC16D9Tbka40SlLeFaxH7SpX1lvms",
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
        "$6$rounds=656000$TAIxecVumMKhKwm/$cDfR2AD.HWdw8lr7yVRfzawXMwKC6qkLsEiYODzylwjLvTEJO3v1KZjtg52RK6KKQQ7YR540m.u.xiU7xrFeI1",
    ] {
        assert!(Foreign::parse(expensive).unwrap().nanoseconds() > own, "{expensive}");
    }
}

/// Texts that look like hashes: pieces of real ones, numbers and separators, in any order.
fn like_a_hash() -> impl Strategy<Value = String> {
    let whole = prop::sample::select(OF_LIBRARIES.iter().chain([&FIREBASE]).copied().collect::<Vec<_>>());
    let pieces = whole.clone().prop_map(|hash| hash.split_inclusive(['$', ',', '=', ':']).collect::<Vec<_>>());
    let mixed = prop::collection::vec(pieces, 1..4).prop_flat_map(|pieces| {
        let pieces: Vec<String> = pieces.into_iter().flatten().map(ToOwned::to_owned).collect();
        prop::collection::vec(
            prop_oneof![4 => prop::sample::select(pieces), 1 => "\\PC{0,6}", 1 => "[0-9]{1,20}\\$"],
            1..12,
        )
    });
    let replaced = (whole, any::<prop::sample::Index>(), "\\PC{0,3}").prop_map(|(hash, at, new)| {
        let at = at.index(hash.len());
        format!("{}{new}{}", &hash[..at], &hash[at + 1..])
    });
    prop_oneof![mixed.prop_map(|pieces| pieces.concat()), replaced]
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,200}") {
        let _ = check_imported(&text);
        prop_assert!(Foreign::parse(&text).is_err());
    }

    #[test]
    fn no_name_makes_a_parser_panic(text in "\\{?\\$?(argon2(id|i|d)?|2[aby]|bcrypt(_sha256|-sha256)?|pbkdf2([_:-]sha(1|256|512))?|scrypt|firebase-scrypt|firescrypt|fbscrypt|[56])\\}?[$:]\\PC{0,80}") {
        let _ = check_imported(&text);
    }

    #[test]
    fn what_is_parsed_is_within_the_bounds(text in like_a_hash()) {
        if let Ok(imported) = check_imported(&text) {
            let foreign = Foreign::parse(&imported.text).unwrap();
            // scrypt needs a little more than N blocks.
            prop_assert!(foreign.memory_kib() <= (256 << 10), "{text}");
            prop_assert!(foreign.nanoseconds() <= 10_000_000_000, "{text}");
        }
        prop_assert!(!refusal_of(&text).is_some_and(|refusal| text.len() > 40 && refusal.contains(&text)));
    }

    #[test]
    fn what_is_parsed_can_be_computed(text in like_a_hash(), password in "\\PC{1,80}") {
        let Ok(imported) = check_imported(&text) else { return Ok(()) };
        let foreign = Foreign::parse(&imported.text).unwrap();
        if foreign.nanoseconds() < 20_000_000 {
            let done = foreign.verify(password.as_bytes(), imported.firebase_key.as_ref(), &mut Memory::default(), 0);
            prop_assert_eq!(done, Ok(false), "{}", text);
        }
    }
}

fn refusal_of(text: &str) -> Option<String> {
    check_imported(text).err().map(|refused| refused.to_string())
}
