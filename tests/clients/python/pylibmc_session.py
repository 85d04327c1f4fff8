"""pylibmc, which is libmemcached in Python: pylibmc_session.py SERVER SECOND keeps|forgets [binary]"""
import threading
import time

import pylibmc

from checks import check, end, options, keeps, raises, restart, second, server

binary = "binary" in options
behaviors = {"tcp_nodelay": True, "cas": True, "ketama": True}


def connect(*servers, **more):
    return pylibmc.Client(list(servers), binary=binary, behaviors={**behaviors, **more})


client = connect(server)
many = {f"many-{number}": number for number in range(300)}
bytes_of_all_kinds = bytes(range(256)) * 4000
longest = "k" * 250


def fails(act):
    """Text answers False where binary raises an error."""
    try:
        return act() is False
    except pylibmc.Error:
        return True


def values():
    things = {"int": -17, "text": "текст", "bytes": b"bytes", "float": 2.5, "true": True, "dict": {"a": [1, None]}}
    check("set_multi of several types", client.set_multi(things), [])
    check("flags tell the types", client.get_multi(list(things)), things)
    check("get of nothing", client.get("missing"), None)
    check("set of every byte", client.set("binary", bytes_of_all_kinds))
    check("get of every byte", client.get("binary"), bytes_of_all_kinds)
    check("set of nothing", client.set("empty", b""))
    check("get of nothing", client.get("empty"), b"")
    check("set with the longest key", client.set(longest, "long"))
    check("get with the longest key", client.get(longest), "long")
    check("a value too large", raises(pylibmc.TooBig, lambda: client.set("large", b"x" * (1 << 21))))
    check("the connection goes on", client.get("text"), "текст")
    check("set of a compressed value", client.set("pressed", b"x" * 5_000_000, min_compress_len=1000, compress_level=6))
    check("get of a compressed value", client.get("pressed"), b"x" * 5_000_000)


def stores():
    check("add", client.add("stored", "added"))
    check("add to what is there", client.add("stored", "other"), False)
    check("replace", client.replace("stored", "replaced"))
    check("replace of nothing", fails(lambda: client.replace("missing", "x")))
    check("append", client.append("stored", "-end"))
    check("prepend", client.prepend("stored", "start-"))
    check("all of it", client.get("stored"), "start-replaced-end")
    check("delete", client.delete("stored"))
    check("delete of nothing", fails(lambda: client.delete("stored")))

    check("set", client.set("unique", "first"))
    value, unique = client.gets("unique")
    check("gets", value, "first")
    check("cas", client.cas("unique", "second", unique))
    check("cas of a used unique", client.cas("unique", "third", unique), False)
    check("cas of nothing", raises(pylibmc.NotFound, lambda: client.cas("missing", "x", unique)))
    check("gets of nothing", client.gets("missing"), (None, None))

    check("set of a number", client.set("counter", 10))
    check("incr", client.incr("counter", 5), 15)
    check("decr", client.decr("counter", 20), 0)
    check("incr of nothing", raises(pylibmc.NotFound, lambda: client.incr("missing")))
    check("incr of a word", raises(pylibmc.Error, lambda: client.incr("unique")))
    check("touch", client.touch("unique", 1000))
    check("touch of nothing", fails(lambda: client.touch("missing", 1000)))
    check("set with an expiry", client.set("short", "x", time=1))
    deadline = time.monotonic() + 20

    while client.get("short") is not None and time.monotonic() < deadline:
        time.sleep(0.1)

    check("after the expiry", client.get("short"), None)


def multiples():
    check("set_multi with a prefix", client.set_multi(many, key_prefix="a-"), [])
    check("get_multi with a prefix", client.get_multi(list(many) + ["missing"], key_prefix="a-"), many)
    check("incr_multi", client.incr_multi(list(many), key_prefix="a-", delta=7), None)
    check("all are more", client.get_multi(list(many), key_prefix="a-"), {key: many[key] + 7 for key in many})
    check("add_multi", client.add_multi({"a-many-0": 1, "b": 2}), ["a-many-0"])
    check("delete_multi", client.delete_multi(list(many), key_prefix="a-"))
    check("all are deleted", client.get_multi(list(many), key_prefix="a-"), {})

    hasty = connect(server, no_block=True)
    check("set_multi that does not wait", hasty.set_multi(many), [])
    check("get_multi behind it", hasty.get_multi(list(many)), many)

    spread = connect(server, second)
    check("set_multi over two servers", spread.set_multi(many), [])
    check("get_multi over two servers", spread.get_multi(list(many)), many)
    check("both have a part", 0 < len(connect(second).get_multi(list(many))) < 300)


def connections():
    pool = pylibmc.ThreadMappedPool(client)
    check("a counter for many", client.set("pooled", 0))

    def work():
        with pool.reserve() as mine:
            for _ in range(100):
                mine.incr("pooled")
        pool.relinquish()

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("each increment counts once", client.get("pooled"), 3200)


def through_a_restart():
    (_, stats), = client.get_stats()
    check("stats", [name for name in ("pid", "uptime", "curr_items", "get_hits") if not stats[name].isdigit()], [])
    check("flush_all", client.flush_all())
    check("all is flushed", client.get_multi(list(many)), {})
    check("set_multi", client.set_multi(many), [])
    check("set of every byte", client.set("binary", bytes_of_all_kinds, time=1000))
    _, unique = client.gets("many-7")
    restart()

    for _ in range(3):
        try:
            client.get("binary")
            break
        except pylibmc.Error:
            # Libmemcached finds out with a request that the connection is gone, and the next one makes a new one.
            pass

    check("get_multi after a restart", client.get_multi(list(many)), many if keeps else {})
    check("every byte", client.get("binary"), bytes_of_all_kinds if keeps else None)

    if keeps:
        check("cas knows its unique", client.cas("many-7", "cas", unique))


values()
stores()
multiples()
connections()
through_a_restart()
end(f"pylibmc {pylibmc.__version__}")
