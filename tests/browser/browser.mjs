// Chromium, with a page that fails the test when it, or another page of its context, reports an error.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export async function withPage(name, test) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS });
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    context.setDefaultTimeout(15_000);
    const errors = [];
    context.on("weberror", (error) => errors.push(String(error.error())));
    await test(await context.newPage());
    assert.deepEqual(errors, [], "errors of the pages");
    console.log(`passed: ${name}`);
  } finally {
    await browser.close();
  }
}
