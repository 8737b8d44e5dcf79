// Checks `oauth4webapi`, which follows the RFCs strictly, against grantd.
import * as oauth from "oauth4webapi";
import { check, equal, issuer, privateKey, rejects, secret, user } from "./check.mjs";

const insecure = { [oauth.allowInsecureRequests]: true }; // grantd is on loopback here, without TLS.
const server = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }),
);

const clients = {
  "client_secret_basic": [{ client_id: "robot" }, oauth.ClientSecretBasic(secret)],
  "client_secret_post": [{ client_id: "robot" }, oauth.ClientSecretPost(secret)],
  "private_key_jwt": [{ client_id: "key-robot" }, oauth.PrivateKeyJwt(privateKey)],
};

for (const [method, [client, proof]] of Object.entries(clients)) {
  const name = `oauth4webapi: ${method}:`;
  const credentials = async (form = {}) => {
    const answer = await oauth.clientCredentialsGrantRequest(server, client, proof, form, insecure);
    return oauth.processClientCredentialsResponse(server, client, answer);
  };
  const password = async () => {
    const answer = await oauth.genericTokenEndpointRequest(server, client, proof, "password", user, insecure);
    return oauth.processGenericTokenEndpointResponse(server, client, answer);
  };
  const refresh = async (token) => {
    const answer = await oauth.refreshTokenGrantRequest(server, client, proof, token, insecure);
    return oauth.processRefreshTokenResponse(server, client, answer);
  };
  const introspect = async (token) => {
    const answer = await oauth.introspectionRequest(server, client, proof, token, insecure);
    return oauth.processIntrospectionResponse(server, client, answer);
  };
  const revoke = async (token) => {
    const answer = await oauth.revocationRequest(server, client, proof, token, insecure);
    return oauth.processRevocationResponse(answer);
  };
  const validate = (token, audience = issuer.origin) => {
    const request = new Request("http://127.0.0.1/items", { headers: { authorization: `Bearer ${token}` } });
    return oauth.validateJwtAccessToken(server, request, audience, insecure);
  };

  await check(`${name} client credentials`, async () => {
    const { token_type, scope, refresh_token } = await credentials({ scope: "items:read" });
    equal([token_type, scope, refresh_token], ["bearer", "items:read", undefined]);
  });
  await check(`${name} a scope that the client lacks`, () =>
    rejects("invalid_scope", () => credentials({ scope: "users:write" })),
  );
  await check(`${name} its token is a JWT access token (RFC 9068)`, async () => {
    const claims = await validate((await credentials()).access_token);
    equal([claims.client_id, claims.sub], [client.client_id, client.client_id]);
  });
  await check(`${name} its token has no other audience`, async () => {
    const { access_token } = await credentials();
    await rejects("OAUTH_JWT_CLAIM_COMPARISON_FAILED", () => validate(access_token, "https://reports.example.com"));
  });
  await check(`${name} password, refresh`, async () => {
    const first = await password();
    const second = await refresh(first.refresh_token);
    equal(second.refresh_token === first.refresh_token, false);
    equal((await validate(second.access_token)).username, "admin");
  });
  await check(`${name} introspection, revocation of an access token`, async () => {
    const { access_token } = await credentials();
    equal((await introspect(access_token)).client_id, client.client_id);
    await revoke(access_token);
    equal(await introspect(access_token), { active: false });
  });
  await check(`${name} introspection, revocation of a refresh token`, async () => {
    const { access_token, refresh_token } = await password();
    equal((await introspect(refresh_token)).username, "admin");
    await revoke(refresh_token);
    equal([await introspect(refresh_token), await introspect(access_token)], [{ active: false }, { active: false }]);
    await rejects("invalid_grant", () => refresh(refresh_token));
  });
}

await check("oauth4webapi: a wrong secret", () =>
  rejects("OAUTH_WWW_AUTHENTICATE_CHALLENGE", async () => {
    const proof = oauth.ClientSecretBasic("wrong");
    const client = { client_id: "robot" };
    const answer = await oauth.clientCredentialsGrantRequest(server, client, proof, {}, insecure);
    return oauth.processClientCredentialsResponse(server, client, answer);
  }),
);
