// A session with grantd in a browser, in plain fetch: log in, call with a token, refresh it, log out.
//
// The access token stays in memory. The refresh token is in sessionStorage, so that it survives a reload of this tab; a script
// injected into your page could read it. Serve a strict Content-Security-Policy, or keep the tokens in your backend.

const issuer = "http://127.0.0.1:8080";
const KEY = "refresh_token";

let access = null; // { token, expires }: the current access token and when it expires, in milliseconds.
let refreshing = null;
let session = 0; // Counts logins and logouts: a refresh that ends after one of them is not kept.

async function post(path, parameters) {
  const response = await fetch(issuer + path, { method: "POST", body: new URLSearchParams(parameters) });
  const text = await response.text(); // `/revoke` answers with an empty body.
  const answer = text ? JSON.parse(text) : {};
  if (!response.ok) throw Object.assign(new Error(answer.error_description ?? answer.error), { code: answer.error });
  return answer;
}

function keep(answer) {
  access = { token: answer.access_token, expires: Date.now() + answer.expires_in * 1000 };
  sessionStorage.setItem(KEY, answer.refresh_token);
}

export async function login(username, password) {
  const answer = await post("/token", { grant_type: "password", username, password });
  session++;
  keep(answer);
}

// One refresh at a time: a refresh token is good for one use, and requests that need a new one share it.
function refresh() {
  const token = sessionStorage.getItem(KEY);
  if (!token) return Promise.reject(new Error("logged out"));
  const current = session;
  refreshing ??= post("/token", { grant_type: "refresh_token", refresh_token: token })
    .then((answer) => {
      if (session !== current) throw new Error("logged out");
      keep(answer);
    })
    .catch((error) => {
      if (error.code === "invalid_grant" && session === current) forget();
      throw error;
    })
    .finally(() => (refreshing = null));
  return refreshing;
}

function forget() {
  access = null;
  sessionStorage.removeItem(KEY);
}

// Whether this tab has a session. The session may have ended at the server since.
export const isLoggedIn = () => sessionStorage.getItem(KEY) !== null;

// `fetch` with the access token, which is refreshed 30 seconds before it expires, and when it is refused.
export async function call(url, options = {}) {
  for (let attempt = 0; ; attempt++) {
    if (!access || access.expires - Date.now() < 30_000) await refresh();
    const headers = new Headers(options.headers);
    headers.set("Authorization", `Bearer ${access.token}`);
    const response = await fetch(url.startsWith("/") ? issuer + url : url, { ...options, headers });
    if (response.status !== 401 || attempt > 0) return response;
    access = null;
  }
}

export async function logout() {
  const token = sessionStorage.getItem(KEY);
  session++;
  forget();
  if (token) await post("/revoke", { token });
}
