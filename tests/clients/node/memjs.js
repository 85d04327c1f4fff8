"use strict";
// memjs, which speaks the binary protocol: memjs.js SERVER SECOND keeps|forgets

const memjs = require("memjs");
const { server, second, keeps, check, restart, persist, until, run } = require("./checks");

const open = (servers) => memjs.Client.create(servers, { timeout: 20, conntimeout: 20, retries: 3, failoverTime: 1, logger: { log() {} } });
const client = open(server);
const numbers = Array.from({ length: 1000 }, (_, number) => number);
const keys = numbers.map((number) => `many-${number}`);
const binary = Buffer.from(Array.from({ length: 1024000 }, (_, index) => index % 256));
const longest = "k".repeat(250);

/** A value as text, or null. */
const text = async (key, from = client) => (await from.get(key)).value?.toString() ?? null;
const outcome = (promise) => promise.then((answer) => answer, (error) => error.message ?? String(error));

async function values() {
  check("set", await client.set("text", "текст", {}));
  check("get", await text("text"), "текст");
  check("get of nothing", await client.get("missing"), { value: null, flags: null });
  check("set of every byte", await client.set("binary", binary, {}));
  check("get of every byte", binary.equals((await client.get("binary")).value));
  check("set of nothing", await client.set("empty", "", {}));
  check("get of nothing", await text("empty"), "");
  check("set with the longest key", await client.set(longest, "long", {}));
  check("get with the longest key", await text(longest), "long");
  check("a value too large", /TOO_LARGE|Too large/i.test(await outcome(client.set("large", "x".repeat(1 << 21), {}))));
}

async function stores() {
  check("add", await client.add("stored", "added", {}));
  check("add to what is there", await client.add("stored", "other", {}), false);
  check("replace", await client.replace("stored", "replaced", {}));
  check("replace of nothing", await client.replace("missing", "x", {}), false);
  check("append", await client.append("stored", "-end"));
  check("both", await text("stored"), "replaced-end");
  check("delete", await client.delete("stored"));
  check("delete of nothing", await client.delete("stored"), false);
  check("increment with a first value", await client.increment("counter", 1, { initial: 41 }), { success: true, value: 41 });
  check("increment", await client.increment("counter", 5, {}), { success: true, value: 46 });
  check("decrement", await client.decrement("counter", 100, {}), { success: true, value: 0 });
  check("touch", await client.touch("text", 1000));
  check("touch of nothing", await client.touch("missing", 1000), false);
  check("set with an expiry", await client.set("short", "x", { expires: 1 }));
  check("after the expiry", await until(null, () => text("short")), null);
}

/** The answers of a command for each server, as an object. */
const ofServers = (command) => new Promise((resolve, reject) => {
  command((error, name, answer) => (error ? reject(error) : resolve({ [name]: answer })));
});

run("memjs", async () => {
  await values();
  await stores();
  check("1000 sets at once", (await Promise.all(keys.map((key, number) => client.set(key, String(number), {})))).every(Boolean));
  check("1000 gets at once", await Promise.all(keys.map((key) => text(key))), numbers.map(String));
  const spread = open(`${server},${second}`);
  await Promise.all(keys.map((key, number) => spread.set(`spread-${key}`, String(number), {})));
  check("1000 gets over two servers", await Promise.all(keys.map((key) => text(`spread-${key}`, spread))), numbers.map(String));
  const other = open(second);
  const there = await Promise.all(keys.map((key) => text(`spread-${key}`, other)));
  check("both have a part", there.some((one) => one !== null) && there.some((one) => one === null));
  const stats = await ofServers((answer) => client.stats(answer));
  check("stats", ["pid", "cmd_get", "curr_items"].every((name) => /^\d+$/.test(stats[server][name])));

  await ofServers((answer) => client.flush((error, results) => answer(error, "all", results)));
  check("all is flushed", await text("many-1"), null);
  await Promise.all(keys.map((key, number) => client.set(key, String(number), { expires: 1000 })));
  check("set of every byte", await client.set("binary", binary, {}));
  await restart();
  await persist(() => client.get("many-1"));
  check("gets after a restart", await Promise.all(keys.map((key) => text(key))), numbers.map((number) => (keeps ? String(number) : null)));
  check("every byte", (await client.get("binary")).value?.equals(binary) ?? false, keeps);
});
