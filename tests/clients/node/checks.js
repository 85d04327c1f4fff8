"use strict";
// What every session here needs: checks that end the program when they fail, and the restart of the server.

const assert = require("node:assert");
const readline = require("node:readline");

const [server, second, fate, ...options] = process.argv.slice(2);
let count = 0;

/** Without an expected value, true is. */
function check(what, actual, ...rest) {
  const expected = rest.length === 0 ? true : rest[0];
  count += 1;

  try {
    assert.deepStrictEqual(actual, expected);
  } catch {
    const show = (value) => String(JSON.stringify(value)).slice(0, 200);
    process.stderr.write(`${what}: expected ${show(expected)}, got ${show(actual)}\n`);
    process.exit(1);
  }
}

/** Has the server stopped and started again on its port. */
function restart() {
  const input = readline.createInterface({ input: process.stdin });
  console.log("restart");

  return new Promise((resolve, reject) => {
    input.once("line", (line) => {
      input.close();
      line === "restarted" ? resolve() : reject(new Error(line));
    });
  });
}

/** Calls again, for a while, what fails while a client finds out that its connections are gone. */
async function persist(act) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      if (attempt === 100) throw error;
      await sleep(50);
    }
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until the answer is the expected one, at most 20 seconds, and returns the last answer. */
async function until(expected, act) {
  for (const end = Date.now() + 20000; ; await sleep(100)) {
    const answer = await act();
    if (answer === expected || Date.now() > end) return answer;
  }
}

/** Runs the session and ends the program: with one line when all was well. */
async function run(library, session) {
  try {
    await session();
    console.log(`${library} ${require(`${library}/package.json`).version}: ${count} checks`);
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

module.exports = { server, second, keeps: fate === "keeps", options, check, restart, persist, until, run };
