// A session with grantd in a browser, in plain fetch: log in, call with a token, refresh it, log out.
//
// The tokens are in localStorage: all tabs of this origin share the session, and it survives a restart of the browser. A script
// injected into your page could read them. Serve a strict Content-Security-Policy, or keep the tokens in your backend.

const issuer = "http://127.0.0.1:8080";
const KEY = "session";
// The device token stays after a logout: with it, guessers elsewhere cannot throttle the next login. It is no credential.
const DEVICE = "device";

// The session of all tabs, or null: { access_token, refresh_token, expires (in milliseconds) }.
const read = () => JSON.parse(localStorage.getItem(KEY));

function keep({ access_token, refresh_token, expires_in }) {
  localStorage.setItem(KEY, JSON.stringify({ access_token, refresh_token, expires: Date.now() + expires_in * 1000 }));
}

async function post(path, parameters) {
  const body = new URLSearchParams(parameters);
  // The timeout ends a refresh for which other tabs wait.
  const response = await fetch(issuer + path, { method: "POST", body, signal: AbortSignal.timeout(10_000) });
  const text = await response.text(); // `/revoke` answers with an empty body.
  const answer = text ? JSON.parse(text) : {};
  if (!response.ok) throw Object.assign(new Error(answer.error_description ?? answer.error), { code: answer.error });
  return answer;
}

export async function login(username, password) {
  const device_token = localStorage.getItem(DEVICE) ?? "";
  const answer = await post("/token", { grant_type: "password", username, password, device_token });
  localStorage.setItem(DEVICE, answer.device_token);
  keep(answer);
}

// One refresh at a time in all tabs: a refresh token is good for one use, and reuse ends the session. Browsers offer locks to pages
// from https:// and from loopback addresses.
const refresh = (refused) => navigator.locks.request(KEY, () => refreshLocked(refused));

// `refused` is the access token to replace. Reads the session again: another tab may have refreshed it while this one waited.
// localStorage may show that with a delay; then this tab sends the previous refresh token, and gets the current one again
// (GRANTD_REFRESH_LEEWAY).
async function refreshLocked(refused) {
  const session = read();
  if (!session || session.access_token !== refused) return;
  // A login or logout in the meantime wins.
  const isCurrent = () => read()?.refresh_token === session.refresh_token;
  try {
    const answer = await post("/token", { grant_type: "refresh_token", refresh_token: session.refresh_token });
    if (isCurrent()) keep(answer);
  } catch (error) {
    if (error.code === "invalid_grant" && isCurrent()) localStorage.removeItem(KEY);
    throw error;
  }
}

// Whether this browser has a session. The session may have ended at the server since.
export const isLoggedIn = () => read() !== null;

// `fetch` with the access token, which is refreshed 30 seconds before it expires, and when it is refused.
export async function call(url, options = {}) {
  for (let attempt = 0; ; attempt++) {
    let session = read();
    if (session && session.expires - Date.now() < 30_000) {
      await refresh(session.access_token);
      session = read();
    }
    if (!session) throw new Error("logged out");
    const headers = new Headers(options.headers);
    headers.set("Authorization", `Bearer ${session.access_token}`);
    const response = await fetch(url.startsWith("/") ? issuer + url : url, { ...options, headers });
    if (response.status !== 401 || attempt > 0) return response;
    await refresh(session.access_token);
  }
}

export async function logout() {
  const session = read();
  localStorage.removeItem(KEY);
  if (session) await post("/revoke", { token: session.refresh_token });
}
