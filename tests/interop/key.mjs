// Creates a key for `private_key_jwt`: private.jwk, and jwks.json with its public part.
import { writeFileSync } from "node:fs";
import { exportJWK, generateKeyPair } from "jose";

const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const { d, ...half } = { ...(await exportJWK(privateKey)), alg: "ES256", kid: "test" };
writeFileSync("private.jwk", JSON.stringify({ ...half, d }), { mode: 0o600 });
writeFileSync("jwks.json", JSON.stringify({ keys: [{ ...half, use: "sig" }] }));
