// `/docs`: log in with Authorize, execute a request, log out.
import assert from "node:assert/strict";
import { withPage } from "./browser.mjs";

const { ISSUER, PASSWORD, SCREENSHOT } = process.env;

await withPage("/docs logs in and executes a request", async (page) => {
  const elsewhere = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(ISSUER) && !request.url().startsWith("data:")) elsewhere.push(request.url());
  });
  await page.goto(`${ISSUER}/docs`);
  await page.waitForSelector(".opblock");
  if (SCREENSHOT) await page.screenshot({ path: SCREENSHOT });

  await page.click(".btn.authorize");
  const dialog = page.locator(".auth-container").filter({ has: page.locator("#oauth_username") });
  await dialog.locator("#oauth_username").fill("admin");
  await dialog.locator("#oauth_password").fill(PASSWORD);
  await dialog.locator("button.authorize").click();
  // A button replaces the fields.
  await page.locator('.auth-container button:has-text("Logout")').first().waitFor();
  await page.click(".btn-done");

  await executes(page);
  assert.deepEqual(elsewhere, [], "requests to other hosts");
});

// The other credentials of the dialog. Each page has one of them alone.
for (const [name, fill] of [
  ["bearer", (dialog) => dialog.locator("input").fill(process.env.TOKEN)],
  ["apiKey", (dialog) => dialog.locator("input").fill(process.env.API_KEY)],
  [
    "basic",
    async (dialog) => {
      await dialog.locator("input").nth(0).fill("admin");
      await dialog.locator("input").nth(1).fill(PASSWORD);
    },
  ],
]) {
  await withPage(`/docs authorizes with ${name}`, async (page) => {
    await page.goto(`${ISSUER}/docs`);
    await page.click(".btn.authorize");
    const dialog = page.locator(".auth-container").filter({ has: page.locator(`h4 code:text-is("${name}")`) });
    await fill(dialog);
    await dialog.locator("button.authorize").click();
    await page.locator('.auth-container button:has-text("Logout")').first().waitFor();
    await page.click(".btn-done");
    await executes(page);
  });
}

// Executes "Get the current user", which must succeed.
async function executes(page) {
  const operation = page.locator('[id^="operations-"][id$="-show_me"]');
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".btn.execute").click();
  const status = operation.locator(".live-responses-table .response-col_status").nth(1);
  await status.waitFor();
  assert.match(await status.innerText(), /^200/);
  assert.match(await operation.locator(".live-responses-table .response-col_description").nth(1).innerText(), /"username": "admin"/);
}
