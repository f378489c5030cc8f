// What the scripts that drive a Chromium have in common: steps that are told as they are made, edits of the app's files,
// and waits for what the browser shows. A script ends with 0 only if all of its steps held.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** The longest wait for one thing to happen; the longest thing is a build on a busy machine. */
export const STEP_TIME_MAX_MS = 120_000;
const WHOLE_TIME_MAX_MS = 900_000;

export const url = new URL(required("DEVHOST_URL"));
const app = required("APP_DIR");
const shots = process.env.SHOTS;

export function required(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`error: ${name} is not set`);
  process.exit(2);
}

let stepName = "start";

export async function step(name, work) {
  stepName = name;
  const started = performance.now();
  await work();
  console.log(`ok    ${name} (${Math.round(performance.now() - started)} ms)`);
}

export function check(holds, text) {
  if (!holds) throw new Error(text);
}

export function checkEqual(actual, expected, what) {
  check(actual === expected, `${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}

/** Replaces text in a file of the app as most editors do, and fails where that would change nothing. */
export function edit(file, from, to) {
  const path = join(app, file);
  const before = readFileSync(path, "utf8");
  const after = before.replace(from, () => to);
  check(after !== before, `${file} does not have ${from}, or has ${to} already`);
  writeFileSync(`${path}.new~`, after);
  renameSync(`${path}.new~`, path);
}

/** Waits in the page, across its reloads. */
export async function waitInPage(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: STEP_TIME_MAX_MS });
  } catch (error) {
    throw new Error(`${what} did not happen: ${error.message.split("\n")[0]}`);
  }
}

/** A mark that a page load wipes out. */
export const mark = (page) => page.evaluate(() => void (window.markOfTheTest = true));
export const isMarked = (page) => page.evaluate(() => window.markOfTheTest === true);

/** Waits until a page that was marked has been loaded again. */
export const waitForLoad = (page, what) =>
  waitInPage(page, what, () => window.markOfTheTest !== true && window.__devhost !== undefined);

/** Waits until the live-reload script has heard from devhost, so that it misses nothing from then on. */
export const waitForScript = (page, what) =>
  waitInPage(page, `the live-reload script in ${what}`, () => window.__devhost?.connected === true);

/** Starts the browser, runs the steps in it, and ends it. */
export async function drive(run) {
  const limit = setTimeout(() => {
    console.error(`FAIL  ${stepName}: all of it took more than ${WHOLE_TIME_MAX_MS / 1000} s`);
    process.exit(1);
  }, WHOLE_TIME_MAX_MS);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  try {
    await run(browser);
  } catch (error) {
    process.exitCode = 1;
    console.error(`FAIL  ${stepName}: ${error.stack}`);
    const page = browser.contexts()[0]?.pages()[0];
    if (shots && page) {
      mkdirSync(shots, { recursive: true });
      await page.screenshot({ path: join(shots, `failed-${process.pid}.png`) }).catch(() => {});
    }
  } finally {
    await browser.close();
    clearTimeout(limit);
    // Servers of a step that failed may still listen.
    process.exit();
  }
}
