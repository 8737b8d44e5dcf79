// npm install; ISSUER=http://127.0.0.1:8080 npm start
import express from "express";
import { auth, requiredScopes } from "express-oauth2-jwt-bearer";

const issuer = process.env.ISSUER ?? "http://127.0.0.1:8080";
const app = express();

app.use(
  auth({
    issuerBaseURL: issuer, // The keys are discovered through grantd's metadata.
    audience: process.env.AUDIENCE ?? issuer,
    tokenSigningAlg: "ES256",
    strict: true, // Accept only access tokens (`typ: at+jwt`) with all required claims.
    dpop: { enabled: false }, // grantd issues bearer tokens; without this, each 401 would also offer DPoP.
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

// Respond 401 or 403 with WWW-Authenticate. The library also responds 401 when it cannot fetch grantd's keys.
app.use((error, request, response, next) => {
  response.status(error.status ?? 500).set(error.headers ?? {}).json({ detail: error.code ?? "server_error" });
});

app.listen(process.env.PORT ?? 3000, "127.0.0.1");
