// What all scripts that drive a Chromium have in common: steps that are printed as they pass, checks, and the start and
// end of the browser. A script ends with 0 only if all of its steps held.
//
//   SHOTS     a folder for screenshots (optional)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

/** The longest wait for one thing to happen; the longest thing is a build on a busy machine. */
export const STEP_TIME_MAX_MS = 120_000;
const WHOLE_TIME_MAX_MS = 900_000;

export const shots = process.env.SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

export function required(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`error: ${name} is not set`);
  process.exit(2);
}

let stepName = "start";

/** The step that is under way. */
export const currentStep = () => stepName;

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

/** Waits in the page, across its reloads. */
export async function waitInPage(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: STEP_TIME_MAX_MS });
  } catch (error) {
    throw new Error(`${what} did not happen: ${error.message.split("\n")[0]}`);
  }
}

/**
 * Starts the browser, runs the steps in it, and ends it. After a step that failed, `onFailure` gets the first open page, if
 * there is one.
 */
export async function drive(run, onFailure = async () => {}) {
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
    await onFailure(browser.contexts()[0]?.pages()[0]).catch(() => {});
  } finally {
    await browser.close();
    clearTimeout(limit);
    // Servers of a step that failed may still listen.
    process.exit();
  }
}
