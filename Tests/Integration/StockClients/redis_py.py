"""redis-py: blocking, asyncio, RESP3, a pool with threads."""
import asyncio
import sys
import threading

try:
    import redis
    import redis.asyncio
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    sys.exit(77)

PATH, GRANT = sys.argv[1], sys.argv[2]
FIELDS = ["allowed", "limit", "remaining", "retry_after_ms", "reset_ms", "verdict", "rule", "source", "message"]


def ok(name):
    print("ok", name, redis.__version__, flush=True)


def fields(reply):
    """A decision as a dictionary, whether it came as an array or as a map."""
    if isinstance(reply, dict):
        assert list(reply) == FIELDS, reply
        return reply
    assert len(reply) == 9, reply
    return dict(zip(FIELDS, reply))


def look_at(replies):
    for index, reply in enumerate(map(fields, replies[:10])):
        assert reply["allowed"] == 1 and reply["remaining"] == 9 - index, reply
        assert reply["verdict"] == "allow" and reply["message"] == "", reply
    denied = fields(replies[10])
    assert denied["allowed"] == 0 and denied["verdict"] == "limit" and denied["retry_after_ms"] > 0, denied
    assert denied["message"].startswith("run is limited to 10 calls"), denied


def blocking(name, **options):
    client = redis.Redis(unix_socket_path=PATH, decode_responses=True, **options)
    grant = f"{GRANT}-{name}"
    assert client.ping() is True
    look_at([client.execute_command("CHECK", grant, "run") for _ in range(11)])
    assert fields(client.execute_command("PEEK", grant, "run"))["allowed"] == 0
    try:
        client.execute_command("CHECK", grant)
        raise AssertionError("no error")
    except redis.ResponseError as error:
        assert "wrong number of arguments" in str(error), error
    pipeline = client.pipeline(transaction=False)
    for _ in range(2000):
        pipeline.execute_command("CHECK", grant, "big")
    left = [fields(reply)["remaining"] for reply in pipeline.execute()]
    assert left == list(range(left[0], left[0] - 2000, -1)), left[:5]
    long_pipeline(client, name, options)
    assert client.echo("still here") == "still here"
    assert client.info()["sluice_version"]
    transaction(client, grant)
    client.close()
    if options.get("protocol") == 2:
        named = redis.Redis(unix_socket_path=PATH, decode_responses=True, db=1, **options)
        flat = named.execute_command("PEEK", grant, "run")
        assert isinstance(flat, list) and flat[::2] == FIELDS and flat[1] == 0 and flat[11] == "limit", flat
        named.connection_pool.disconnect()
        assert named.execute_command("PEEK", grant, "big")[:2] == ["allowed", 1]
        named.close()
    ok(name)


def long_pipeline(client, name, options):
    """It is written to its end before anything is read: answers that no socket holds wait in the sidecar, up to its bound."""
    grant = f"{GRANT}-{name}-" + "x" * 180
    look_at([client.execute_command("CHECK", grant, "run") for _ in range(11)])
    pipeline = client.pipeline(transaction=False)
    for _ in range(2000):
        pipeline.execute_command("CHECK", grant, "run")
    assert {fields(reply)["verdict"] for reply in pipeline.execute()} == {"limit"}
    # More than the bound: an error within seconds, where both would wait for each other.
    once = redis.Redis(
        unix_socket_path=PATH, decode_responses=True, socket_timeout=60, retry=Retry(NoBackoff(), 0), **options)
    pipeline = once.pipeline(transaction=False)
    for _ in range(20000):
        pipeline.execute_command("PEEK", grant, "run")
    try:
        pipeline.execute()
        raise AssertionError("no error")
    except redis.ConnectionError as error:
        assert "Broken pipe" in str(error) or "closed" in str(error) or "reset" in str(error), error
    once.close()


def transaction(client, grant):
    """What `pipeline()` is by default: an error, and nothing is charged."""
    before = fields(client.execute_command("PEEK", grant, "big"))["remaining"]
    pipeline = client.pipeline()
    for _ in range(3):
        pipeline.execute_command("CHECK", grant, "big")
    try:
        pipeline.execute()
        raise AssertionError("no error")
    except redis.ResponseError as error:
        assert "not charged" in str(error) and "transaction=False" in str(error), error
    assert fields(client.execute_command("PEEK", grant, "big"))["remaining"] == before


async def asynchronous():
    async with redis.asyncio.Redis(unix_socket_path=PATH, decode_responses=True) as client:
        grant = f"{GRANT}-asyncio"
        assert await client.ping()
        look_at([await client.execute_command("CHECK", grant, "run") for _ in range(11)])
        assert fields(await client.execute_command("PEEK", grant, "run"))["allowed"] == 0
        try:
            await client.execute_command("CHECK", grant, "run", "COST", "x")
            raise AssertionError("no error")
        except redis.ResponseError as error:
            assert "COST" in str(error), error
        calls = [client.execute_command("CHECK", grant, "big") for _ in range(50)]
        left = sorted(fields(reply)["remaining"] for reply in await asyncio.gather(*calls))
        assert left == list(range(left[0], left[0] + 50))
        async with client.pipeline(transaction=False) as pipeline:
            for _ in range(100):
                pipeline.execute_command("CHECK", grant, "big")
            assert len(await pipeline.execute()) == 100
    ok("redis-py-asyncio")


def threads():
    pool = redis.BlockingConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=PATH, max_connections=8, timeout=20,
        decode_responses=True)
    client = redis.Redis(connection_pool=pool)
    grant, left, lock = f"{GRANT}-pool", [], threading.Lock()

    def work():
        for _ in range(100):
            reply = client.execute_command("CHECK", grant, "big")
            with lock:
                left.append(fields(reply)["remaining"])

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    left.sort()
    assert left == list(range(left[0], left[0] + 1600)), len(left)
    ok("redis-py-pool")


blocking("redis-py")
try:
    redis.Redis(unix_socket_path=PATH, protocol=3)
except TypeError:
    pass  # Before 5.0 there was only RESP2.
else:
    blocking("redis-py-resp2", protocol=2)
    blocking("redis-py-resp3", protocol=3)
asyncio.run(asynchronous())
threads()
