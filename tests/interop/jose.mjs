// Verifies a token with `jose` and prints its header and claims: node jose.mjs TOKEN AUDIENCE
import { createRemoteJWKSet, jwtVerify } from "jose";

const [token, audience] = process.argv.slice(2);
const issuer = process.env.ISSUER;
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, typ: "at+jwt" });
console.log(JSON.stringify({ header: protectedHeader, payload }));
