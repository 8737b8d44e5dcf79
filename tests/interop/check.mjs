// Helpers of the checks in JavaScript. They print one line per check, in the format of checks.py, which counts them.
import { deepStrictEqual } from "node:assert";
import { readFileSync } from "node:fs";

export const equal = deepStrictEqual;
export const issuer = new URL(process.env.ISSUER);
export const user = { username: "admin", password: process.env.PASSWORD };
// Both clients have every grant type: `robot` authenticates with a secret, `key-robot` with a key.
export const secret = process.env.ROBOT_SECRET;
const jwk = JSON.parse(readFileSync("private.jwk"));
const algorithm = { name: "ECDSA", namedCurve: "P-256" };
export const privateKey = { key: await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["sign"]), kid: jwk.kid };

export async function check(name, test) {
  try {
    await test();
    console.log(`ok      ${name}`);
  } catch (error) {
    const cause = error.cause instanceof Error ? `: ${error.cause.message}` : ` ${JSON.stringify(error.cause) ?? ""}`;
    console.log(`FAILED  ${name}: ${error.name}: ${error.message.split("\n").join(" ")}${cause}`);
  }
}

export async function rejects(code, call) {
  try {
    await call();
  } catch (error) {
    equal(error.error ?? error.code, code);
    return;
  }
  throw new Error(`not refused with ${code}`);
}
