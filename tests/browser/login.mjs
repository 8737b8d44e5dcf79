// examples/browser/: a wrong password, a login, a reload, a refresh, a refresh in two tabs at once, a logout.
import assert from "node:assert/strict";
import { withPage } from "./browser.mjs";

const { PAGE_URL, PASSWORD, ISSUER } = process.env;

const logIn = async (page, password) => {
  await page.fill("[name=username]", "admin");
  await page.fill("[name=password]", password);
  await page.click("#login button");
};
const isShown = (page, id) => page.locator(`#${id}`).waitFor({ state: "visible" });
const greets = (page) => page.waitForFunction(() => document.getElementById("name").textContent === "admin");
const session = (page) => page.evaluate(() => JSON.parse(localStorage.getItem("session")));
const change = (page, changed) =>
  page.evaluate((text) => localStorage.setItem("session", text), JSON.stringify(changed));
// Lets the next call of any tab refresh.
const expire = async (page) => change(page, { ...(await session(page)), expires: 0 });
// Clicks "Load again", and waits for the response.
const loadAgain = async (page) => {
  await page.evaluate(() => (document.getElementById("name").textContent = ""));
  await page.click("#reload");
  await greets(page);
};
// Until one tab refreshes, and another one waits for it.
const otherTabWaits = (page) =>
  page.evaluate(async () => {
    for (const end = Date.now() + 15_000; Date.now() < end; ) {
      const { held, pending } = await navigator.locks.query();
      if (held.length === 1 && pending.length === 1) return;
    }
    throw new Error("no tab waits for the lock");
  });

await withPage("the login form logs in, refreshes and logs out", async (page) => {
  const grants = [];
  let gate = Promise.resolve();
  await page.context().route(`${ISSUER}/token`, async (route) => {
    grants.push(new URLSearchParams(route.request().postData()).get("grant_type"));
    await gate;
    await route.continue();
  });
  await page.goto(PAGE_URL);
  await isShown(page, "login");

  await logIn(page, "not the password");
  await page.waitForFunction(() => document.getElementById("error").textContent !== "");
  await isShown(page, "login");

  await logIn(page, PASSWORD);
  await greets(page);
  const first = await session(page);

  await page.reload();
  await greets(page);
  assert.deepEqual(await session(page), first);
  assert.deepEqual(grants, ["password", "password"]);

  await expire(page);
  await page.reload();
  await greets(page);
  const second = await session(page);
  assert.notEqual(first.refresh_token, second.refresh_token);
  assert.deepEqual(grants, ["password", "password", "refresh_token"]);

  // A refused access token is replaced, too.
  await change(page, { ...second, access_token: "refused" });
  await loadAgain(page);
  assert.deepEqual(grants, ["password", "password", "refresh_token", "refresh_token"]);

  // Two tabs refresh at once: the second one waits for the first one, and uses the result. They share a process, which makes the
  // result visible at once.
  const [other] = await Promise.all([page.waitForEvent("popup"), page.evaluate((url) => void open(url), PAGE_URL)]);
  await greets(other);
  await expire(page);
  let release;
  gate = new Promise((resolve) => (release = resolve));
  const loads = Promise.all([loadAgain(page), loadAgain(other)]);
  await otherTabWaits(page);
  release();
  await loads;
  assert.deepEqual(grants, ["password", "password", "refresh_token", "refresh_token", "refresh_token"]);
  assert.deepEqual(await session(other), await session(page));
  const { refresh_token } = await session(page);

  await page.click("#logout");
  await isShown(page, "login");
  // The device token stays: it is no credential.
  assert.equal(await page.evaluate(() => Object.keys(localStorage).join()), "device");
  await other.click("#reload");
  await isShown(other, "login");
  // The session has ended at the server, too.
  const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token });
  const response = await fetch(`${ISSUER}/token`, { method: "POST", body });
  assert.equal((await response.json()).error, "invalid_grant");
});
