"use strict";
// memcache-client, with its own parser of replies: memcache-client.js SERVER SECOND keeps|forgets [CA-FILE]
// With a file of certificates all connections are encrypted.

const fs = require("node:fs");
const { MemcacheClient } = require("memcache-client");
const { server, keeps, options, check, restart, persist, until, run } = require("./checks");

const tls = options.length ? { tls: { ca: fs.readFileSync(options[0]) } } : {};
const open = (more) => new MemcacheClient({ server: { server, maxConnections: 8 }, cmdTimeout: 20000, lifetime: 0, ...tls, ...more });
const client = open();
const numbers = Array.from({ length: 1000 }, (_, number) => number);
const keys = numbers.map((number) => `many-${number}`);
const binary = Buffer.from(Array.from({ length: 1024000 }, (_, index) => index % 256));
const longest = "k".repeat(250);

const value = async (key) => (await client.get(key))?.value;
const outcome = (promise) => promise.then((answer) => answer, (error) => error.message);

/** What getting many keys answers, as an array of values. */
const valuesOf = async (keys) => {
  const answers = await client.get(keys);
  return keys.map((key) => answers[key]?.value);
};

async function values() {
  const things = { text: "текст", number: -17, object: { a: [1, null] } };
  for (const [key, thing] of Object.entries(things)) check(`set of ${key}`, await client.set(key, thing), ["STORED"]);
  check("flags tell the types", await valuesOf(Object.keys(things)), Object.values(things));
  check("get of nothing", await client.get("missing"), undefined);
  check("set of every byte", await client.set("binary", binary), ["STORED"]);
  check("get of every byte", binary.equals(await value("binary")));
  check("set of nothing", await client.set("empty", Buffer.alloc(0)), ["STORED"]);
  check("get of nothing", (await value("empty")).length, 0);
  check("set with the longest key", await client.set(longest, "long"), ["STORED"]);
  check("get with the longest key", await value(longest), "long");
  // On a connection of its own: older releases of memcached go on with the value, as a command.
  const careless = open();
  check("a key too long", await outcome(careless.set(`${longest}k`, "x")), "CLIENT_ERROR bad command line format");
  careless.shutdown();
  check("a value too large", await outcome(client.set("text", "x".repeat(1 << 21))), "SERVER_ERROR object too large for cache");
}

async function stores() {
  check("add", await client.add("stored", "added"), ["STORED"]);
  check("add to what is there", await outcome(client.add("stored", "other")), "NOT_STORED");
  check("replace", await client.replace("stored", "replaced"), ["STORED"]);
  check("append", await client.append("stored", "-end"), ["STORED"]);
  check("prepend", await client.prepend("stored", "start-"), ["STORED"]);
  check("all of it", await value("stored"), "start-replaced-end");
  check("delete", await client.delete("stored"), ["DELETED"]);
  check("delete of nothing", await outcome(client.delete("stored")), "NOT_FOUND");

  check("set", await client.set("unique", "first"), ["STORED"]);
  const { casUniq } = await client.gets("unique");
  check("cas", await client.cas("unique", "second", { casUniq }), ["STORED"]);
  check("cas of a used unique", await outcome(client.cas("unique", "third", { casUniq })), "EXISTS");
  check("after cas", await value("unique"), "second");

  check("set of a number", await client.set("counter", "10"), ["STORED"]);
  check("incr", await client.incr("counter", 5), "15");
  check("decr", await client.decr("counter", 20), "0");
  check("incr of nothing", await outcome(client.incr("missing", 1)), "NOT_FOUND");
  check("touch", await client.touch("unique", 1000), ["TOUCHED"]);
  check("gat", (await client.cmd("gat 1000 unique missing")).unique?.value, "second");
  check("gats", (await client.cmd("gats 1000 unique")).unique?.casUniq !== undefined);
  check("a negative gat", (await client.cmd("gat -1 unique")).unique?.value, "second");
  check("what it leaves", await value("unique"), undefined);
  check("set with an expiry", await client.set("short", "x", { lifetime: 1 }), ["STORED"]);
  check("after the expiry", await until(undefined, () => value("short")), undefined);
}

async function atOnce() {
  const stored = await Promise.all(keys.map((key, number) => client.set(key, number)));
  check("1000 sets at once", stored.every(([answer]) => answer === "STORED"));
  check("1000 gets at once", await Promise.all(keys.map(value)), numbers);
  check("1000 keys in one get", await valuesOf(keys), numbers);
  check("large values at once", (await Promise.all(numbers.slice(0, 50).map(() => value("binary")))).every((one) => one.equals(binary)));

  // One connection, so that the answer of the last waits for all before it.
  const single = open({ server: { server, maxConnections: 1 } });
  for (const key of keys.slice(0, 500)) single.delete(key, { noreply: true });
  for (const key of keys.slice(500)) single.cmd(`incr ${key} 1`, { noreply: true });
  check("a get behind 1000 commands without replies", Object.keys(await single.get(keys)).length, 500);
  single.shutdown();
}

run("memcache-client", async () => {
  await values();
  await stores();
  await atOnce();
  check("version", /^\d+\.\d+\.\d+$/.test((await client.version())[1]));
  const stats = Object.fromEntries((await client.cmd("stats")).STAT);
  check("stats", ["pid", "cmd_get", "curr_connections"].every((name) => /^\d+$/.test(stats[name])));

  check("flush_all", await client.cmd("flush_all"), ["OK"]);
  check("all is flushed", await client.get(keys), {});
  await Promise.all(keys.map((key, number) => client.set(key, number, { lifetime: 1000 })));
  check("set of every byte", await client.set("binary", binary), ["STORED"]);
  const { casUniq } = await client.gets("many-7");
  await restart();
  await persist(() => client.version());
  check("get of many after a restart", await valuesOf(keys), keeps ? numbers : keys.map(() => undefined));
  check("every byte", (await value("binary"))?.equals(binary) ?? false, keeps);
  check("cas knows its unique", await outcome(client.cas("many-7", "cas", { casUniq })), keeps ? ["STORED"] : "NOT_FOUND");
});
