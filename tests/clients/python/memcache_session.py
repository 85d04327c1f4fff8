"""python-memcached, the oldest of Python's clients, in Python alone: memcache_session.py SERVER SECOND keeps|forgets"""
import memcache

from checks import check, end, keeps, restart, second, server

client = memcache.Client([server], socket_timeout=20, cache_cas=True)
many = {f"many-{number}": number for number in range(1000)}
large = bytes(range(256)) * 4000


def values():
    things = {"int": -17, "text": "текст", "bytes": b"bytes", "float": 2.5, "dict": {"a": [1, None]}}
    check("set_multi of several types", client.set_multi(things), [])
    check("flags tell the types", client.get_multi(list(things)), things)
    check("set of every byte", client.set("binary", large))
    check("get of every byte", client.get("binary"), large)
    check("get of nothing", client.get("missing"), None)
    check("set of a compressed value", client.set("pressed", "x" * 900_000, min_compress_len=1000))
    check("get of a compressed value", client.get("pressed"), "x" * 900_000)


def stores():
    check("add", client.add("stored", "added"))
    check("add to what is there", client.add("stored", "other"), False)
    check("replace", client.replace("stored", "replaced"))
    check("append", client.append("stored", "-end"))
    check("prepend", client.prepend("stored", "start-"))
    check("all of it", client.get("stored"), "start-replaced-end")
    check("touch", client.touch("stored", 1000), 1)
    check("delete with a time of 0", client.delete("stored", time=0), 1)
    check("gone", client.get("stored"), None)

    check("set", client.set("unique", "first"))
    check("gets", client.gets("unique"), "first")
    check("cas", client.cas("unique", "second"))
    check("cas of a used unique", client.cas("unique", "third"), False)
    check("after cas", client.get("unique"), "second")
    check("set of a number", client.set("counter", 10))
    check("incr", client.incr("counter", 5), 15)
    check("decr", client.decr("counter", 20), 0)
    check("incr of nothing", client.incr("missing"), None)

    check("set without a reply", client.set("quiet", 1, noreply=True))
    check("incr without a reply", client.incr("quiet", noreply=True), None)
    check("get behind them", client.get("quiet"), 2)
    check("set_multi without replies", client.set_multi(many, noreply=True), [])
    check("get_multi behind it", client.get_multi(list(many)), many)
    check("delete_multi", client.delete_multi(list(many)), 1)
    check("get_multi of nothing", client.get_multi(list(many)), {})

    spread = memcache.Client([server, second], socket_timeout=20)
    check("set_multi over two servers", spread.set_multi(many), [])
    check("get_multi over two servers", spread.get_multi(list(many)), many)


def stats():
    (name, plain), = client.get_stats()
    check("stats of the server", name.split()[0], server)
    check("stats are numbers", [name for name in ("pid", "cmd_get", "curr_items") if not plain[name].isdigit()], [])
    (_, settings), = client.get_stats("settings")
    check("stats settings", settings["tcpport"], server.split(":")[1])

def through_a_restart():
    client.flush_all()
    check("all is flushed", client.get_multi(list(many)), {})
    check("set_multi", client.set_multi(many, time=1000), [])
    check("set of every byte", client.set("binary", large))
    restart()
    # Finds out that its connection is gone, and takes the server for dead.
    client.get("binary")
    client.forget_dead_hosts()
    check("get_multi after a restart", client.get_multi(list(many)), many if keeps else {})
    check("every byte", client.get("binary"), large if keeps else None)
    check("set", client.set("binary", "new"))


values()
stores()
stats()
through_a_restart()
end(f"python-memcached {memcache.__version__}")
