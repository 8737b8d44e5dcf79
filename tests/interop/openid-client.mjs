// Checks `openid-client` against grantd.
import * as client from "openid-client";
import { check, equal, issuer, privateKey, rejects, secret, user } from "./check.mjs";

// Reads the metadata of grantd (RFC 8414), on loopback and without TLS.
const discover = (id, proof) =>
  client.discovery(issuer, id, undefined, proof, { algorithm: "oauth2", execute: [client.allowInsecureRequests] });
const clients = {
  "a public client": ["default", client.None()],
  "client_secret_basic": ["robot", client.ClientSecretBasic(secret)],
  "client_secret_post": ["robot", client.ClientSecretPost(secret)],
  "private_key_jwt": ["key-robot", client.PrivateKeyJwt(privateKey)],
};

for (const [method, [id, proof]] of Object.entries(clients)) {
  const name = `openid-client: ${method}:`;
  const config = await discover(id, proof);
  const login = () => client.genericGrantRequest(config, "password", { ...user, scope: "account items:read" });
  const me = (token) => client.fetchProtectedResource(config, token, new URL("/users/me", issuer), "GET");

  await check(`${name} password, and a call`, async () => {
    const { access_token, scope } = await login();
    equal([scope, (await (await me(access_token)).json()).username], ["account items:read", "admin"]);
  });
  await check(`${name} a wrong password`, () =>
    rejects("invalid_grant", () => client.genericGrantRequest(config, "password", { ...user, password: "wrong" })),
  );
  await check(`${name} refresh, with a smaller scope`, async () => {
    const { refresh_token } = await login();
    equal((await client.refreshTokenGrant(config, refresh_token, { scope: "account" })).scope, "account");
  });
  await check(`${name} revocation`, async () => {
    const { access_token, refresh_token } = await login();
    await client.tokenRevocation(config, refresh_token);
    await rejects("invalid_grant", () => client.refreshTokenGrant(config, refresh_token));
    await rejects("OAUTH_WWW_AUTHENTICATE_CHALLENGE", () => me(access_token));
  });
  if (id === "default") continue;
  await check(`${name} client credentials`, async () => {
    equal((await client.clientCredentialsGrant(config, { scope: "items:read" })).scope, "items:read");
  });
  await check(`${name} introspection`, async () => {
    const { access_token } = await client.clientCredentialsGrant(config);
    equal((await client.tokenIntrospection(config, access_token)).sub, id);
    equal(await client.tokenIntrospection(config, "something-else"), { active: false });
  });
}
