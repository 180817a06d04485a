import SluiceRedis
import Testing

@Suite struct RedisAddressTests {
    struct Good: Sendable, CustomTestStringConvertible {
        var url: String
        var endpoint: RedisAddress.Endpoint
        var database = 0
        var user: String?
        var password: String?
        var testDescription: String { url }
    }

    @Test(arguments: [
        Good(url: "redis://localhost", endpoint: .tcp(host: "localhost", port: 6379)),
        Good(url: "redis://localhost/", endpoint: .tcp(host: "localhost", port: 6379)),
        Good(url: "REDIS://Redis.example:7000/3", endpoint: .tcp(host: "Redis.example", port: 7000), database: 3),
        Good(url: "redis://[::1]", endpoint: .tcp(host: "::1", port: 6379)),
        Good(url: "redis://[fe80::1]:1/2", endpoint: .tcp(host: "fe80::1", port: 1), database: 2),
        Good(url: "redis://u:p@h:65535", endpoint: .tcp(host: "h", port: 65535), user: "u", password: "p"),
        Good(url: "redis://:p@h", endpoint: .tcp(host: "h", port: 6379), password: "p"),
        Good(url: "redis://a%40b:p%3A%2F%25@h", endpoint: .tcp(host: "h", port: 6379), user: "a@b", password: "p:/%"),
        Good(url: "redis://@h", endpoint: .tcp(host: "h", port: 6379)),
        Good(url: "redis://:@h", endpoint: .tcp(host: "h", port: 6379)),
        Good(url: "redis://default:@h", endpoint: .tcp(host: "h", port: 6379)),
        Good(url: "redis://nopass:@h", endpoint: .tcp(host: "h", port: 6379), user: "nopass", password: ""),
        Good(url: "redis://u:p@ss:w@h", endpoint: .tcp(host: "h", port: 6379), user: "u", password: "p@ss:w"),
        Good(url: "redis://u:%C3%A9@h", endpoint: .tcp(host: "h", port: 6379), user: "u", password: "é"),
        Good(url: "unix:///run/redis.sock", endpoint: .unix(path: "/run/redis.sock")),
        Good(url: "unix:///run/a%20b?db=12", endpoint: .unix(path: "/run/a b"), database: 12),
    ])
    func reads(_ good: Good) throws {
        let address = try RedisAddress(good.url)
        #expect(address.endpoint == good.endpoint)
        #expect(address.database == good.database)
        #expect(address.credentials?.user == good.user)
        #expect(address.credentials?.password == good.password)
    }

    @Test(arguments: [
        ("", "starts with redis:// or unix://"),
        ("localhost:6379", "starts with redis:// or unix://"),
        ("http://localhost", "the scheme \"http\" is unknown"),
        ("rediss://", "the host is empty"),
        ("valkeys://localhost", "the scheme \"valkeys\" is unknown"),
        ("redis+sentinel://a,b", "the master's name is missing"),
        ("redis+sentinel://a,b/", "the master's name is missing"),
        ("redis+sentinel://a,/m", "the host is empty"),
        ("redis+sentinel://a:x,b/m", "the port is no number"),
        ("redis+sentinel://a/m/x", "the database is no number"),
        ("redis+sentinel://" + (0...32).map { "h\($0)" }.joined(separator: ",") + "/m", "there are 33 sentinels"),
        ("redis+cluster://", "the host is empty"),
        ("redis+cluster://a,,b", "the host is empty"),
        ("redis+cluster://a:0", "the port \"0\""),
        ("redis+cluster://a,b/1", "a Redis Cluster has no database but 0"),
        ("redis+cluster://a,b/x", "the database is no number"),
        ("rediss+cluster://a/0?x=1", "nothing may follow the database"),
        ("redis+cluster://" + (0...32).map { "h\($0)" }.joined(separator: ","), "there are 33 nodes"),
        ("redis://", "the host is empty"),
        ("redis://:6379", "the host is empty"),
        ("redis://h:", "the port is no number"),
        ("redis://h:0", "the port \"0\""),
        ("redis://h:65536", "the port \"65536\""),
        ("redis://h:6379x", "the port is no number"),
        ("redis://::1:6379", "in brackets"),
        ("redis://[::1", "not closed"),
        ("redis://[::1]x", "the port is no number"),
        ("redis://h/one", "the database is no number"),
        ("redis://h/-1", "the database is no number"),
        ("redis://h/1/2", "the database is no number"),
        ("redis://h/0?x=1", "nothing may follow the database"),
        ("redis://user@h", "a user without a password"),
        ("redis://u:%zz@h", "not percent-encoded"),
        ("redis://u:%ff@h", "not percent-encoded"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///a?password=x", "only db may follow"),
        ("unix:///a?db=x", "the database is no number"),
        ("unix:///a%", "not percent-encoded"),
        ("unix:///" + String(repeating: "a", count: 107), "108 bytes"),
    ])
    func refuses(_ url: String, _ reason: String) {
        let error = #expect(throws: RedisAddressError.self) { try RedisAddress(url) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("\n") == false)
    }

    @Test(arguments: [
        "redis://u:s3cret@h:x", "redis://u:s3/cret@h", "redis://u:s3?cret@h", "redis://u:s3#cret@h/1",
        "redis://u:s3cret%zz@h", "redis://u:s3cret@", "rediss://u:s3cret@h:x", "redis+sentinel://u:s3cret@h",
        "redis://u:s3cret@h/s", "x://u:s3cret@h", "redis+cluster://u:s3cret@a,b/1", "redis+cluster://u:s3cret@a,b:x",
        "redis+cluster://u:s3cret,b", "redis+cluster://a,b/s3cret",
        // A misplaced password: the @ is missing, or in the wrong place.
        "redis://u:s3cret", "redis://:s3cret:6379", "redis://u:s3cret:6379", "redis://h:6379/s3cret",
        "redis://h/0?p=s3cret",
        "redis://h/0#s3cret", "u:s3cret@h://x", "u:s3cret://h", "redis//u:s3cret@h", "redis://s3 cret",
        "redis://[s3cret",
        "redis://[::1]s3cret", "unix:///s?password=s3cret", "unix:///s?db=1&password=s3cret", "unix://u:s3cret@h/s",
        "unix:///s3cret%zz", "redis://h:s3cret%zz",
    ])
    func neverShowsAPassword(_ url: String) {
        let error = #expect(throws: RedisAddressError.self) { try RedisAddress(url) }
        #expect(error?.description.contains("s3") == false, "\(error?.description ?? "")")
    }

    @Test func readsSentinels() throws {
        let address = try RedisAddress("redis+sentinel://u:p@one,two:5/mymaster/3")
        #expect(
            address.endpoint
                == .master(
                    name: "mymaster", sentinels: [.init(host: "one", port: 26_379), .init(host: "two", port: 5)]))
        #expect(address.database == 3 && !address.isTLS && address.credentials?.password == "p")
        #expect(try RedisAddress("rediss+sentinel://one/m").isTLS && RedisAddress("rediss://one").isTLS)
    }

    @Test func readsNodesOfACluster() throws {
        let address = try RedisAddress("redis+cluster://u:p@one,[::1]:5/")
        #expect(address.endpoint == .cluster(nodes: [.init(host: "one", port: 6379), .init(host: "::1", port: 5)]))
        #expect(address.database == 0 && !address.isTLS && address.credentials?.password == "p")
        #expect(try RedisAddress("rediss+cluster://one/0").isTLS)
    }

    @Test func describesItselfWithoutThePassword() throws {
        let address = try RedisAddress("redis://gateway:s3cret@[::1]:7000/2")
        #expect("\(address)" == "redis://gateway:***@[::1]:7000/2")
        #expect(try "\(RedisAddress("unix:///run/r.sock?db=3"))" == "unix:///run/r.sock?db=3")
        #expect(try "\(RedisAddress("rediss://:s3cret@h/1"))" == "rediss://:***@h:6379/1")
        #expect(
            try "\(RedisAddress("rediss+sentinel://u:s3cret@a:1,[::1]/my%2Bmaster/2"))"
                == "rediss+sentinel://u:***@a:1,[::1]:26379/my+master/2")
        #expect(
            try "\(RedisAddress("rediss+cluster://u:s3cret@a:1,[::1]"))" == "rediss+cluster://u:***@a:1,[::1]:6379")
        var dumped = ""
        dump(address, to: &dumped)
        #expect(!dumped.contains("s3cret"))
        #expect(!String(reflecting: address).contains("s3cret"))
        #expect(!"\(try #require(address.credentials))".contains("s3cret"))
    }
}
