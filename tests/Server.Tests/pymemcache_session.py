"""A session with pymemcache in two parts, with a restart of the server between them: pymemcache_session.py PORT before|after."""
import sys
import time

from pymemcache.client.base import Client

port, part = int(sys.argv[1]), sys.argv[2]
client = Client(("127.0.0.1", port), timeout=10, default_noreply=False)
many = {f"many-{number}": b"value %d" % number for number in range(1000)}
binary = bytes(range(256)) * 100


def expect(actual, expected, what):
    if actual != expected:
        sys.exit(f"{what}: expected {expected!r}, got {actual!r}")


def before():
    expect(client.set("text", "value", flags=77), True, "set")
    expect(client.get("text"), b"value", "get")
    expect(client.set("binary", binary), True, "set of every byte")
    expect(client.set("empty", b""), True, "set of nothing")
    expect(client.set_many(many), [], "set_many")
    expect(client.get_many(list(many)), many, "get_many")
    expect(client.add("text", "other"), False, "add to what is there")
    expect(client.add("added", "other"), True, "add")
    expect(client.replace("missing", "x"), False, "replace of nothing")
    expect(client.replace("added", "replaced"), True, "replace")

    value, unique = client.gets("text")
    expect(value, b"value", "gets")
    expect(client.cas("text", "cas", unique), True, "cas")
    expect(client.cas("text", "late", unique), False, "cas of a used unique")
    expect(client.cas("missing", "x", unique), None, "cas of nothing")

    expect(client.set("counter", "10"), True, "set of a number")
    expect(client.incr("counter", 5), 15, "incr")
    expect(client.decr("counter", 1), 14, "decr")
    expect(client.incr("missing", 1), None, "incr of nothing")

    expect(client.append("text", "-end"), True, "append")
    expect(client.prepend("text", "start-"), True, "prepend")
    expect(client.append("missing", "x"), False, "append to nothing")

    expect(client.touch("text", 1000), True, "touch")
    expect(client.touch("missing", 1000), False, "touch of nothing")
    expect(client.set("short", "x", expire=1), True, "set with an expiry")
    expect(client.set("deleted", "x"), True, "set")
    expect(client.delete("deleted"), True, "delete")
    expect(client.delete("deleted"), False, "delete of nothing")
    expect(client.set("quiet", "noreply", noreply=True), True, "set with noreply")
    expect(client.delete_many(["many-0", "missing"]), True, "delete_many")
    expect(client.version().count(b"."), 2, "version")
    expect(client.stats()[b"pid"] > 0, True, "stats")


def after():
    expect(client.get("text"), b"start-cas-end", "text")
    expect(client.get("binary"), binary, "every byte")
    expect(client.get("empty"), b"", "nothing")
    expect(client.get("added"), b"replaced", "added")
    expect(client.get("counter"), b"14", "counter")
    expect(client.get("quiet"), b"noreply", "quiet")
    expect(client.get("deleted"), None, "deleted")
    expect(client.get_many(list(many)), {key: many[key] for key in many if key != "many-0"}, "many")
    value, unique = client.gets("text")
    expect(client.cas("text", "again", unique), True, "cas")
    time.sleep(1.1)
    expect(client.get("short"), None, "short")
    expect(client.flush_all(), True, "flush_all")
    expect(client.get_many(["text", "many-1"]), {}, "flushed")
    expect(client.set("text", "new"), True, "set")
    expect(client.get("text"), b"new", "get")


{"before": before, "after": after}[part]()
client.quit()
