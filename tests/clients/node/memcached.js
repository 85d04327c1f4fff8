"use strict";
// memcached, and the session store of connect that stands on it: memcached.js SERVER SECOND keeps|forgets

const http = require("node:http");
const util = require("node:util");
const Memcached = require("memcached");
const connect = require("connect");
const sessions = require("express-session");
const { server, second, keeps, check, restart, persist, until, run } = require("./checks");

/** The library's functions, with promises. */
function open(servers, options) {
  const client = new Memcached(servers, { timeout: 20000, retries: 5, retry: 100, minTimeout: 10, maxTimeout: 100, ...options });
  const promising = { client };

  for (const name of ["get", "gets", "getMulti", "set", "add", "replace", "cas", "append", "prepend", "incr", "decr", "del",
    "touch", "version", "flush", "stats", "settings", "slabs", "items", "cachedump"]) {
    promising[name] = util.promisify(client[name]).bind(client);
  }

  return promising;
}

const client = open(server, { poolSize: 10 });
const many = Object.fromEntries(Array.from({ length: 1000 }, (_, number) => [`many-${number}`, `value ${number}`]));
// The library counts the bytes above 127 twice.
const binary = Buffer.from(Array.from({ length: 640000 }, (_, index) => index % 256));
const longest = "k".repeat(250);

/** The message of the error that a call ends with, or its answer. */
const outcome = (promise) => promise.then((answer) => answer, (error) => error.message);

async function values() {
  const things = { text: "текст", number: -17, object: { a: [1, null] }, yes: true };
  for (const [key, value] of Object.entries(things)) check(`set of ${key}`, await client.set(key, value, 0));
  check("flags tell the types", { ...await client.getMulti(Object.keys(things)) }, things);
  check("get of nothing", await client.get("missing"), undefined);
  check("set of every byte", await client.set("binary", binary, 0));
  check("get of every byte", binary.equals(await client.get("binary")));
  check("set with the longest key", await client.set(longest, "long", 0));
  check("get with the longest key", await client.get(longest), "long");
  const huge = open(server, { maxValue: 1 << 22 });
  check("a value too large", await huge.set("text", "x".repeat(1 << 21), 0), false);
  check("the old value is gone with it", await client.get("text"), undefined);
}

async function stores() {
  check("add", await client.add("stored", "added", 0));
  check("add to what is there", await outcome(client.add("stored", "other", 0)), "Item is not stored");
  check("replace", await client.replace("stored", "replaced", 0));
  check("append", await client.append("stored", "-end"));
  check("prepend", await client.prepend("stored", "start-"));
  check("all of it", await client.get("stored"), "start-replaced-end");
  check("del", await client.del("stored"));
  check("del of nothing", await client.del("stored"), false);

  check("set", await client.set("unique", "first", 0));
  const { unique, cas } = await client.gets("unique");
  check("gets", unique, "first");
  check("cas", await client.cas("unique", "second", cas, 0));
  check("cas of a used unique", await client.cas("unique", "third", cas, 0), false);
  check("after cas", await client.get("unique"), "second");

  check("set of a number", await client.set("counter", 10, 0));
  check("incr", await client.incr("counter", 5), 15);
  check("decr", await client.decr("counter", 20), 0);
  check("incr of nothing", await client.incr("missing", 1), false);
  check("incr of a word", /non-numeric/.test(await outcome(client.incr("unique", 1))));
  check("touch", await client.touch("unique", 1000));
  check("touch of nothing", await client.touch("missing", 1000), false);
  check("set with an expiry", await client.set("short", "x", 1));
  check("after the expiry", await until(undefined, () => client.get("short")), undefined);
}

async function atOnce() {
  check("1000 sets at once", (await Promise.all(Object.entries(many).map(([key, value]) => client.set(key, value, 0)))).every(Boolean));
  check("getMulti of 1000", { ...await client.getMulti(Object.keys(many)) }, many);
  check("1000 gets at once", await Promise.all(Object.keys(many).map((key) => client.get(key))), Object.values(many));
  check("a counter", await client.set("pooled", 0, 0));
  await Promise.all(Array.from({ length: 500 }, () => client.incr("pooled", 1)));
  check("each increment counts once", await client.get("pooled"), 500);

  const spread = open([server, second]);
  await Promise.all(Object.entries(many).map(([key, value]) => spread.set(`spread-${key}`, value, 0)));
  const keys = Object.keys(many).map((key) => `spread-${key}`);
  check("getMulti over two servers", Object.keys(await spread.getMulti(keys)).length, 1000);
  const there = Object.keys(await open(second).getMulti(keys)).length;
  check("both have a part", there > 0 && there < 1000);
  check("version of both", (await spread.version()).length, 2);
}

async function talk() {
  const [version] = await client.version();
  check("the version has three numbers", /^\d+\.\d+\.\d+$/.test(version.version));
  const [stats] = await client.stats();
  check("stats", [typeof stats.pid, typeof stats.cmd_get, stats.version], ["number", "number", version.version]);
  const [settings] = await client.settings();
  check("settings", settings.tcpport, Number(server.split(":")[1]));
  const [items] = await client.items();
  const classes = Object.keys(items).filter((name) => name !== "server");
  check("stats items, by class", classes.length > 0 && classes.every((name) => items[name].number > 0));
  check("stats slabs", Object.keys((await client.slabs())[0]).includes("server"));
  check("cachedump", Array.isArray(await client.cachedump(server, 1, 10)));
}

/** A site that counts a visitor's calls, with the visitor's cookie. */
async function site(store) {
  const app = connect();
  app.use(sessions({ store, secret: "secret", resave: false, saveUninitialized: true }));
  app.use((request, response) => {
    request.session.views = (request.session.views ?? 0) + 1;
    response.end(String(request.session.views));
  });
  const listening = http.createServer(app).listen(0, "127.0.0.1");
  await new Promise((resolve) => listening.once("listening", resolve));
  let cookie = "";

  return async () => {
    const response = await fetch(`http://127.0.0.1:${listening.address().port}/`, { headers: { cookie } });
    cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    return response.text();
  };
}

run("memcached", async () => {
  await values();
  await stores();
  await atOnce();
  await talk();

  check("flush", await client.flush(), [true]);
  check("all is flushed", { ...await client.getMulti(Object.keys(many)) }, {});
  const MemcachedStore = require("connect-memcached")(sessions);
  const visit = await site(new MemcachedStore({ client: client.client, ttl: 1000 }));
  check("a first visit", await visit(), "1");
  check("a second visit", await visit(), "2");
  await Promise.all(Object.entries(many).map(([key, value]) => client.set(key, value, 1000)));
  check("set of every byte", await client.set("binary", binary, 0));
  await restart();
  const kept = await persist(() => client.getMulti(Object.keys(many)));
  check("getMulti after a restart", { ...kept }, keeps ? many : {});
  check("every byte", (await client.get("binary"))?.equals(binary) ?? false, keeps);
  check("the visitor's third visit", await visit(), keeps ? "3" : "1");
  check("set", await client.set("binary", "new", 0));
});
