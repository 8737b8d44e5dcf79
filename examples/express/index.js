// npm install; ISSUER=http://127.0.0.1:8080 npm start
import express from "express";
import { auth, requiredScopes } from "express-oauth2-jwt-bearer";

const issuer = process.env.ISSUER ?? "http://127.0.0.1:8080";
const app = express();

app.use(
  auth({
    issuerBaseURL: issuer, // The keys are found by grantd's metadata.
    audience: process.env.AUDIENCE ?? issuer,
    tokenSigningAlg: "ES256",
    strict: true, // Only access tokens (`typ: at+jwt`) with all their claims.
    dpop: { enabled: false }, // grantd's tokens are bearer tokens; else each 401 would offer DPoP too.
  }),
);

app.get("/protected", ({ auth: { payload } }, response) => {
  response.json({ message: `Hello, ${payload.username ?? payload.sub}! You are authenticated.` });
});

app.get("/items", requiredScopes("items:read"), (request, response) => {
  response.json([{ name: "lamp", price: 9.5 }]);
});

app.post("/items", requiredScopes("items:write"), express.json(), (request, response) => {
  response.json(request.body);
});

// 401 and 403 with their WWW-Authenticate. The library gives 401 as well when it cannot fetch grantd's keys.
app.use((error, request, response, next) => {
  response.status(error.status ?? 500).set(error.headers ?? {}).json({ detail: error.code ?? "server_error" });
});

app.listen(process.env.PORT ?? 3000, "127.0.0.1");
