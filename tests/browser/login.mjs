// examples/browser/: a wrong password, a login, a reload (which refreshes), a refused token, a logout.
import assert from "node:assert/strict";
import { withPage } from "./browser.mjs";

const { PAGE_URL, PASSWORD, ISSUER } = process.env;

const logIn = async (page, password) => {
  await page.fill("[name=username]", "admin");
  await page.fill("[name=password]", password);
  await page.click("#login button");
};
const isShown = (page, id) => page.locator(`#${id}`).waitFor({ state: "visible" });

await withPage("the login form logs in, refreshes and logs out", async (page) => {
  const grants = [];
  page.on("request", (request) => {
    if (request.url() === `${ISSUER}/token`) grants.push(new URLSearchParams(request.postData()).get("grant_type"));
  });
  await page.goto(PAGE_URL);
  await isShown(page, "login");

  await logIn(page, "not the password");
  await page.waitForFunction(() => document.getElementById("error").textContent !== "");
  await isShown(page, "login");

  await logIn(page, PASSWORD);
  await page.waitForFunction(() => document.getElementById("name").textContent === "admin");
  const first = await page.evaluate(() => sessionStorage.getItem("refresh_token"));

  await page.reload();
  await page.waitForFunction(() => document.getElementById("name").textContent === "admin");
  const second = await page.evaluate(() => sessionStorage.getItem("refresh_token"));
  assert.notEqual(first, second);
  assert.deepEqual(grants, ["password", "password", "refresh_token"]);

  await page.click("#logout");
  await isShown(page, "login");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  // The session has ended at the server, too.
  const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token: second });
  const response = await fetch(`${ISSUER}/token`, { method: "POST", body });
  assert.equal((await response.json()).error, "invalid_grant");
});
