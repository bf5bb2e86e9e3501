"""Reading REDIS_URL: what is understood, and that no refusal shows the URL."""

from pathlib import Path

import pytest

from veupath_store.servers.redis_url import RedisTarget, parse_redis_url

SECRET = "s3cr3t"
UNVERIFIED = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
VERIFIED = {"ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://", RedisTarget()),
        ("redis://cache", RedisTarget(host="cache")),
        (" redis://cache:6380/3\n", RedisTarget(host="cache", port=6380, database=3)),
        ("redis://cache/?db=4", RedisTarget(host="cache", database=4)),
        ("redis://:word@cache", RedisTarget(host="cache", password="word")),
        ("redis://ann:w%40%2Frd@cache", RedisTarget(host="cache", user="ann", password="w@/rd")),
        ("redis://ann:a:b@cache", RedisTarget(host="cache", user="ann", password="a:b")),
        ("redis://ann:@cache", RedisTarget(host="cache", user="ann")),
        ("redis://[::1]:7/1", RedisTarget(host="::1", port=7, database=1)),
        ("redis://[::1]", RedisTarget(host="::1")),
        ("unix:///run/redis.sock", RedisTarget(socket="/run/redis.sock")),
        (
            "unix://ann:word@/run/a%20b.sock?db=2",
            RedisTarget(socket="/run/a b.sock", user="ann", password="word", database=2),
        ),
        ("rediss://cache", RedisTarget(host="cache", tls=VERIFIED)),
        ("rediss://cache?ssl_cert_reqs=none", RedisTarget(host="cache", tls=UNVERIFIED)),
        ("rediss://cache?ssl_cert_reqs=CERT_NONE", RedisTarget(host="cache", tls=UNVERIFIED)),
        (
            "rediss://cache?ssl_cert_reqs=&ssl_ca_certs=&ssl_check_hostname=&db=",
            RedisTarget(host="cache", tls=VERIFIED),
        ),
        (
            "rediss://cache?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false",
            RedisTarget(host="cache", tls={"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False}),
        ),
        ("redis+sentinel://one,two:7/main", RedisTarget(sentinels=(("one", 26379), ("two", 7)), service="main")),
        (
            "redis+sentinel://ann:word@[::1]:7,two/ma%20in/3?sentinel_password=w%40+d&sentinel_username=bob",
            RedisTarget(
                sentinels=(("::1", 7), ("two", 26379)),
                service="ma in",
                database=3,
                user="ann",
                password="word",
                sentinel_user="bob",
                sentinel_password="w@+d",
            ),
        ),
        (
            "rediss+sentinel://one/main?ssl_cert_reqs=none",
            RedisTarget(sentinels=(("one", 26379),), service="main", tls=UNVERIFIED),
        ),
        ("embedded:/data/log", RedisTarget(embedded=Path("/data/log"))),
        ("embedded:log", RedisTarget(embedded=Path.cwd() / "log")),
        ("embedded:~/log", RedisTarget(embedded=Path.home() / "log")),
    ],
)
def test_what_is_understood(url, target):
    assert parse_redis_url(url) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (SECRET, "its scheme must be one of redis, rediss, unix, redis+sentinel, rediss+sentinel, embedded"),
        (f"http://:{SECRET}@cache", "its scheme must be"),
        (f"redis://:{SECRET}/x@cache", "percent-encode"),
        (f"redis://:{SECRET}?x@cache", "percent-encode"),
        (f"redis://:{SECRET}#x@cache", "percent-encode"),
        (f"redis://:{SECRET}%00@cache", "percent-encode"),
        (f"redis://{SECRET}@cache", "a password stands after a colon"),
        (f"redis://:{SECRET}@cache:port", "a port must be a whole number"),
        (f"redis://:{SECRET}@cache:0", "a port must be"),
        (f"redis://:{SECRET}@cache:65536", "a port must be"),
        (f"redis://:{SECRET}@cache:٣", "a port must be"),
        (f"redis://:{SECRET}@::1", "an IPv6 address stands in brackets"),
        (f"redis://:{SECRET}@cache/{SECRET}", "the database must be a whole number"),
        (f"redis://:{SECRET}@cache/-1", "the database must be a whole number"),
        (f"redis://cache?password={SECRET}", "the unknown parameter 'password'"),
        ("redis://cache?ssl_cert_reqs=none", "the unknown parameter 'ssl_cert_reqs'; a redis:// URL knows db"),
        (f"redis://cache?socket_timeout={SECRET}", "the timeout is set by VEUPATH_STORE_LOG_TIMEOUT"),
        ("redis://cache?protocol=3", "'protocol'; remove it: the store decides that itself"),
        ("redis://cache?ssl=true", "write rediss:// for TLS"),
        (f"rediss://cache?ssl_cert_reqs={SECRET}", "ssl_cert_reqs must be one of none, optional, required"),
        (f"rediss://cache?ssl_check_hostname={SECRET}", "ssl_check_hostname must be true or false"),
        (f"redis+sentinel://:{SECRET}@one", "the name of the Sentinels' master stands after them"),
        (f"redis+sentinel://:{SECRET}@one,,two/main", "the host of a Sentinel is missing"),
        (f"redis+sentinel://:{SECRET}@/main", "the host of a Sentinel is missing"),
        (f"redis+sentinel://:{SECRET}@one/main/x", "the database must be a whole number"),
        ("redis+sentinel://one/main?ssl_cert_reqs=none", "'ssl_cert_reqs'; a redis+sentinel:// URL knows db, sentinel"),
        (f"redis://one?sentinel_password={SECRET}", "the unknown parameter 'sentinel_password'"),
        ("unix://run/redis.sock", "the path of a socket is absolute"),
        ("unix://", "the path of a socket is absolute"),
        ("embedded:", "needs a data directory"),
        (f"embedded:~{SECRET}nobody/x", "names an unknown home directory"),
        (f"embedded:{SECRET}\0", "the path after embedded: is none"),
    ],
)
def test_what_is_refused_without_being_shown(url, reason):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_redis_url(url)
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_password_is_not_in_the_representation():
    assert SECRET not in repr(parse_redis_url(f"redis://ann:{SECRET}@cache"))
    assert SECRET not in repr(parse_redis_url(f"redis+sentinel://:{SECRET}@one/main?sentinel_password={SECRET}"))
