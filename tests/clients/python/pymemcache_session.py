"""pymemcache: pymemcache_session.py SERVER SECOND keeps|forgets [CA-FILE]

SERVER is an address or the path of a socket; with a file of certificates all connections to both are encrypted.
"""
import ssl
import threading
import time

import pymemcache
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheIllegalInputError, MemcacheServerError, MemcacheUnexpectedCloseError
from pymemcache.serde import pickle_serde

from checks import check, end, keeps, options, raises, restart, second, server

tls = ssl.create_default_context(cafile=options[0]) if options else None
patient = {"timeout": 20, "default_noreply": False, "tls_context": tls}
client = Client(server, **patient)
many = {f"many-{number}": b"value %d" % number for number in range(1000)}
binary = bytes(range(256)) * 4000
longest = "k" * 250


def values():
    check("set", client.set("text", "value"))
    check("get", client.get("text"), b"value")
    check("get of nothing", client.get("missing", "default"), "default")
    check("set of every byte", client.set("binary", binary))
    check("get of every byte", client.get("binary"), binary)
    check("set of nothing", client.set("empty", b""))
    check("get of nothing", client.get("empty"), b"")
    check("set with the longest key", client.set(longest, "long"))
    check("get with the longest key", client.get(longest), b"long")
    check("a longer key", raises(MemcacheIllegalInputError, lambda: client.get(longest + "k")))
    check("a value too large", raises(MemcacheServerError, lambda: client.set("text", b"x" * (1 << 21))))
    check("the old value is gone with it", client.get("text"), None)

    unicode = Client(server, allow_unicode_keys=True, encoding="utf-8", **patient)
    check("a key beyond ASCII", unicode.set("ключ-鍵", "значение"))
    check("its value", unicode.get("ключ-鍵"), "значение".encode())
    prefixed = Client(server, key_prefix=b"prefix:", **patient)
    check("a prefix", prefixed.set("key", "x"))
    check("the whole key", client.get("prefix:key"), b"x")
    typed = Client(server, serde=pickle_serde, **patient)
    things = {"int": -17, "text": "text", "bytes": b"bytes", "dict": {"a": [1, 2.5, None]}}
    check("set_many of several types", typed.set_many(things), [])
    check("flags tell the types", typed.get_many(list(things)), things)


def stores():
    check("add", client.add("stored", "added"))
    check("add to what is there", client.add("stored", "other"), False)
    check("replace", client.replace("stored", "replaced"))
    check("replace of nothing", client.replace("missing", "x"), False)
    check("append", client.append("stored", "-end"))
    check("prepend", client.prepend("stored", "start-"))
    check("append to nothing", client.append("missing", "x"), False)
    check("all of it", client.get("stored"), b"start-replaced-end")
    check("delete", client.delete("stored"))
    check("delete of nothing", client.delete("stored"), False)

    check("set", client.set("unique", "first"))
    value, unique = client.gets("unique")
    check("gets", value, b"first")
    check("cas", client.cas("unique", "second", unique))
    check("cas of a used unique", client.cas("unique", "third", unique), False)
    check("cas of nothing", client.cas("missing", "x", unique), None)
    check("after cas", client.get("unique"), b"second")

    check("set of a number", client.set("counter", "10"))
    check("incr", client.incr("counter", 5), 15)
    check("decr", client.decr("counter", 20), 0)
    check("incr to the largest", client.incr("counter", 2**64 - 1), 2**64 - 1)
    check("incr beyond it", client.incr("counter", 3), 2)
    check("incr of nothing", client.incr("missing", 1), None)


def expiry():
    check("set with an expiry", client.set("short", "x", expire=1))
    check("set with a longer one", client.set("long", "x", expire=100))
    check("set of what has expired", client.set("expired", "x", expire=-1))
    check("it is not there", client.get("expired"), None)
    check("touch", client.touch("long", 1000))
    check("touch of nothing", client.touch("missing", 1000), False)
    check("touch to the past", client.set("touched", "x") and client.touch("touched", -1))
    check("it is gone", client.get("touched"), None)
    deadline = time.monotonic() + 20

    while client.get("short") is not None and time.monotonic() < deadline:
        time.sleep(0.1)

    check("after the expiry", client.get("short"), None)
    check("before the expiry", client.get("long"), b"x")


def multiples():
    check("set_many", client.set_many(many), [])
    check("get_many", client.get_many(list(many) + ["missing"]), many)
    check("gets_many", {key: value for key, (value, _) in client.gets_many(list(many)).items()}, many)
    check("delete_many", client.delete_many([f"many-{number}" for number in range(500)]))
    check("the rest", len(client.get_many(list(many))), 500)

    for number in range(500):
        client.set(f"many-{number}", b"value %d" % number, noreply=True)
    client.set("counter", "1", noreply=True)
    client.incr("counter", 1, noreply=True)
    client.delete("many-999", noreply=True)
    check("after noreply", client.get("counter"), b"2")
    check("all of them, without one", len(client.get_many(list(many))), 999)


def connections():
    held = [Client(server, **patient) for _ in range(200)]
    check("200 connections", all(one.set(f"held-{number}", str(number)) for number, one in enumerate(held)))
    check("each answers", [one.get(f"held-{199 - number}") for number, one in enumerate(held)],
          [b"%d" % number for number in reversed(range(200))])
    for one in held:
        one.close()

    pool = PooledClient(server, max_pool_size=16, **patient)
    check("a pool's counter", pool.set("pooled", "0"))

    def work():
        for _ in range(100):
            pool.incr("pooled", 1)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("each increment counts once", pool.get("pooled"), b"1600")
    pool.close()


def two_servers():
    spread = HashClient([server, second], use_pooling=True, max_pool_size=4, **patient)
    check("set_many over two servers", spread.set_many(many), [])
    check("get_many over two servers", spread.get_many(list(many)), many)
    other = Client(second, **patient)
    here = len(other.get_many(list(many)))
    check("both have a part", 0 < here < 1000)
    check("flush_all of one", other.flush_all())
    check("the other part is left", len(spread.get_many(list(many))), 1000 - here)


def talk():
    version = client.version()
    check("the version has three numbers", [part.isdigit() for part in version.split(b".")], [True] * 3)
    before = client.stats()
    client.get("text")
    client.get("missing")
    after = client.stats()
    check("stats count gets", after[b"cmd_get"] - before[b"cmd_get"], 2)
    check("stats know the version", after[b"version"], version)
    numbers = ("pid", "uptime", "time", "pointer_size", "curr_connections", "total_connections", "cmd_set", "get_hits",
               "get_misses", "bytes_read", "bytes_written", "curr_items", "total_items", "limit_maxbytes", "threads")
    check("stats are numbers", [name for name in numbers if not isinstance(after[name.encode()], int)], [])
    check("rusage is a fraction", isinstance(after[b"rusage_user"], float))
    check("cache_memlimit", client.cache_memlimit(64))
    settings = client.stats("settings")
    check("settings are numbers", [type(settings[name]) for name in (b"maxconns", b"item_size_max")], [int, int])
    check("settings are words", settings[b"cas_enabled"], b"yes")


def through_a_restart():
    check("flush_all", client.flush_all())
    check("all is flushed", client.get_many(list(many)), {})
    kept = {**many, longest: b"long", "empty": b""}
    check("set_many", client.set_many(kept), [])
    check("set of every byte", client.set("binary", binary))
    check("set with an expiry", client.set("long", "x", expire=1000))
    check("set of what is deleted", client.set("deleted", "x") and client.delete("deleted"))
    unique = client.gets("many-7")[1]
    check("incr", client.set("counter", "41") and client.incr("counter", 1), 42)
    restart()
    again = RetryingClient(client, attempts=3, retry_for=[MemcacheUnexpectedCloseError, OSError])
    check("get_many after a restart", again.get_many(list(kept)), kept if keeps else {})
    check("every byte", client.get("binary"), binary if keeps else None)
    check("an expiry to come", client.get("long"), b"x" if keeps else None)
    check("deleted", client.get("deleted"), None)
    check("incr goes on", client.incr("counter", 1), 43 if keeps else None)
    check("cas knows its unique", client.cas("many-7", "cas", unique), True if keeps else None)


values()
stores()
expiry()
multiples()
connections()
two_servers()
talk()
through_a_restart()
client.quit()
end(f"pymemcache {pymemcache.__version__}")
