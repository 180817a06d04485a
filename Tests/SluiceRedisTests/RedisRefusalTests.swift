import SluiceEngine
import SluiceRedis
import Support
import Testing

/// Redis' error replies, and whether anything was charged then.
@Suite struct RedisRefusalTests {
    private var batch: Batch {
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "a", max: 9))
        return batch
    }

    @Test(arguments: [
        ("READONLY", ["replicaof 127.0.0.1 1"]),
        ("OOM", ["maxmemory 1", "maxmemory-policy noeviction"]),
        ("NOREPLICAS", ["min-replicas-to-write 1"]),
        ("MASTERDOWN", ["replicaof 127.0.0.1 1", "replica-serve-stale-data no"]),
    ])
    func aServerThatTakesNoWritesRefuses(_ code: String, _ configuration: [String]) async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        for line in configuration {
            let words = line.split(separator: " ").map(String.init)
            if words[0] == "replicaof" {
                try redis.command("REPLICAOF", words[1], words[2])
            } else {
                #expect(try redis.command(["CONFIG", "SET"] + words) == .string("OK"))
            }
        }
        let answer = try await link.answer(to: batch)
        if code == "NOREPLICAS", case .success = answer, try redis.info("redis_version")?.hasPrefix("6.") == true {
            // Redis 6.2 lets scripts write with too few replicas.
            return
        }
        guard case .failure(.rejected(let reason)) = answer else { throw SupportError("not refused") }
        #expect(reason.hasPrefix(code))
        try redis.command("REPLICAOF", "NO", "ONE")
        #expect(try redis.command("EXISTS", "a") == .integer(0))
    }

    @Test func aServerThatIsBusyRefuses() async throws {
        // Redis 7 has another name for it, and knows this one too.
        let redis = try await RedisProcess(configuration: ["lua-time-limit 10"])
        let link = try await LinkHarness.connected(to: redis)
        let client = try redis.client()
        let busy = Task.detached { try redis.command("EVAL", "while true do end", "0") }
        try await waitUntil("the server is busy") {
            guard case .error(let reason) = try client.command(["GET", "x"]) else { return false }
            return reason.hasPrefix("BUSY")
        }
        guard case .failure(.rejected(let reason)) = try await link.answer(to: batch) else {
            throw SupportError("not refused")
        }
        #expect(reason.hasPrefix("BUSY"))
        #expect(try client.command(["SCRIPT", "KILL"]) == .string("OK"))
        _ = try await busy.value
        #expect(try await link.run(batch).results == [1, 1])
    }

    @Test func aCommandThatIsMissingInsideTheScriptLeavesOpenWhatWasCharged() async throws {
        let redis = try await RedisProcess()
        try redis.command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+@all")
        let address = try RedisAddress(redis.url)
        let link = try await LinkHarness.make(
            .init(address: address, credentials: RedisCredentials(user: "narrow", password: "pw"), replica: 7))
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        // A right that goes only now: one that is missing from the start is found when the connection opens.
        try redis.command("ACL", "SETUSER", "narrow", "-decrby")
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "a", max: 0))
        guard case .failure(.unknown) = try await link.answer(to: batch) else { throw SupportError("not unknown") }
        #expect(try redis.command("GET", "a") == .string("1"))
        // Without the script itself nothing runs.
        try redis.command("ACL", "SETUSER", "narrow", "-evalsha")
        batch.sequence = 2
        guard case .failure(.rejected) = try await link.answer(to: batch) else { throw SupportError("not refused") }
    }

    /// A user who may take slots and not free them gets an error, and the slots stay taken.
    @Test func slotsThatMayNotBeFreedAreNotSaidToBe() async throws {
        let redis = try await RedisProcess()
        try redis.command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+@all", "-zrem")
        let address = try RedisAddress(redis.url)
        let link = try await LinkHarness.make(
            .init(address: address, credentials: RedisCredentials(user: "narrow", password: "pw"), replica: 7))
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        func run(_ sequence: Int64, _ fill: (inout Batch) -> Void) async throws -> BatchReply {
            var batch = Batch(sequence: sequence)
            fill(&batch)
            return try await link.run(batch)
        }
        let charges = [TestCharge.slots("c", max: 1, holdMs: 3_600_000), TestCharge(key: "f", max: 9)]
        _ = try await run(1) { $0.add(cost: 4, charges, reserve: "a") }
        let refused = try await run(2) {
            $0.settle(.release, "a")
            $0.settle(.cancel, "a")
            $0.add(count: 0, charges)
        }
        #expect(refused.results.prefix(4) == [-2, -2, 0, 1] && refused.results.last == 4)
        #expect(refused.words.count == 2)
        #expect(try redis.command("ZCARD", "c") == .integer(1))
        try redis.command("ACL", "SETUSER", "narrow", "+zrem")
        let done = try await run(3) {
            $0.settle(.release, "a")
            $0.settle(.cancel, "a")
        }
        #expect(done.results == [1, 1])
        #expect(try redis.command("ZCARD", "c") == .integer(0))
        #expect(try redis.command("GET", "f") == .string("0"))
    }

    @Test func credentialsAreAskedForAndChecked() async throws {
        let redis = try await RedisProcess(configuration: ["requirepass right"], password: "right")
        func event(_ credentials: RedisCredentials?) async throws -> LinkEvent {
            let address = try RedisAddress("unix://\(redis.socketPath)")
            return try await LinkHarness.make(.init(address: address, credentials: credentials, replica: 7)).connect()
        }
        guard case .closed(let missing) = try await event(nil) else { throw SupportError("connected") }
        #expect(missing == "Redis asks for a password: NOAUTH Authentication required.")
        guard case .closed(let wrong) = try await event(RedisCredentials(password: "wrong")) else {
            throw SupportError("connected")
        }
        #expect(wrong.hasPrefix("Redis did not accept the credentials: WRONGPASS"))
        guard case .connected = try await event(RedisCredentials(password: "right")) else {
            throw SupportError("not connected")
        }
        guard case .connected = try await event(RedisCredentials(user: "default", password: "right")) else {
            throw SupportError("not connected")
        }
    }

    @Test func aUserWithTheDocumentedPermissionsIsEnough() async throws {
        let redis = try await RedisProcess()
        let commands =
            "+evalsha +eval +script|load +time +set +get +incrby +decrby +pttl +pexpireat +scan +mget +info "
            + "+client|setname +select +del +zadd +zrem +zremrangebyscore +zcount +zcard +zrangebyscore +zrange"
        try redis.command(
            ["ACL", "SETUSER", "sluice", "on", ">pa/ss", "resetkeys", "~sluice:2:*", "-@all"]
                + commands.split(separator: " ").map(String.init))
        let address = try RedisAddress("unix://\(redis.socketPath)?db=1")
        let link = try await LinkHarness.make(
            .init(address: address, credentials: RedisCredentials(user: "sluice", password: "pa/ss"), replica: 7))
        guard case .connected(let server) = try await link.connect() else { throw SupportError("not connected") }
        #expect(server.hasSuffix(", master"))
        var batch = Batch(sequence: 1)
        let seconds = try Int64(redis.command("TIME").elements?.first?.text ?? "") ?? 0
        let start = String(seconds / 31_622_400, radix: 36)
        let key = "sluice:2:{g}:t:c:f31622400:\(start)"
        batch.add(TestCharge(key: key, max: 1, verifies: true))
        #expect(try await link.run(batch).results == [1, 1])
        batch.sequence = 2
        #expect(try await link.run(batch).results == [0, 1])
        let client = try redis.client()
        _ = try client.command("SELECT", "1")
        _ = try client.command("ZADD", "sluice:2:{g}:t:s:c", "9000000000000", "one")
        _ = try client.command("SET", "sluice:2:{g}:t:w:s31622400:\(start)", "3")
        let found = try await link.scan(CounterQuery(in: "sluice", limit: 9)).get()
        #expect(found.counters.map(\.key.counter).sorted() == ["c", "s", "w"])
        #expect(found.counters.map(\.usage.used).sorted() == [1, 1, 3])
        try await everythingElseIsAllowed(link)
    }

    private func everythingElseIsAllowed(_ link: LinkHarness) async throws {
        let key = "sluice:2:{g}:"
        func operation(_ sequence: Int64, _ operation: Batch.Operation, _ charges: TestCharge...) -> Batch {
            var batch = Batch(sequence: sequence)
            let isCheck = !charges.isEmpty
            batch.entries = [
                .init(
                    cost: isCheck ? 1 : 0, count: isCheck ? 1 : 0, firstCharge: 0, chargeCount: charges.count,
                    operation: 0)
            ]
            batch.charges = charges.map(\.charge)
            batch.operations = [operation]
            for charge in charges { charge.keys.forEach { batch.appendKey($0.utf8) } }
            batch.appendKey("\(key)reservation:\(reservationID("1"))".utf8)
            if case .check(_, idempotency: .some) = operation { batch.appendKey("\(key)id:tool:1".utf8) }
            return batch
        }
        let idempotency = Batch.Idempotency(argumentsHash: "0123456789abcdef", countersHash: "0123456789abcdef")
        let charges = [
            TestCharge.slots("\(key)c", max: 9, holdMs: 60_000),
            .bucket("\(key)b", max: 9, burst: 9, lengthMs: 60_000),
            TestCharge(key: "\(key)s", max: 9, verifies: true).shadow,
        ]
        let check = operation(3, .check(isReserved: true, idempotency: idempotency), charges[0], charges[1], charges[2])
        #expect(try await link.run(check).results.first == 1)
        let peek = {
            var batch = Batch(sequence: 4)
            batch.add(count: 0, [charges[0]])
            return batch
        }()
        #expect(try await link.run(peek).results.prefix(2) == [1, 1])
        #expect(try await link.run(operation(5, .settle(.commit(cost: 0)))).results == [1])
        #expect(try await link.run(operation(6, .settle(.cancel))).results == [1])
    }

    @Test func theDatabaseIsSelected() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make("unix://\(redis.socketPath)?db=3")
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        #expect(try await link.run(batch).results == [1, 1])
        #expect(try redis.command("EXISTS", "a") == .integer(0))
        let client = try redis.client()
        _ = try client.command(["SELECT", "3"])
        #expect(try client.command(["GET", "a"]) == .string("1"))
        let beyond = try await LinkHarness.make("unix://\(redis.socketPath)?db=99")
        #expect(
            try await beyond.connect()
                == .closed(reason: "Redis did not select database 99: ERR DB index is out of range"))
    }

    @Test(arguments: [
        ("NOSCRIPT No matching script. Please use EVAL.", true),
        ("MOVED 3999 127.0.0.1:6381", true),
        ("ASK 3999 127.0.0.1:6381", true),
        ("TRYAGAIN Multiple keys request during rehashing of slot", true),
        ("CLUSTERDOWN Hash slot not served", true),
        ("CROSSSLOT Keys in request don't hash to the same slot", true),
        ("LOADING Redis is loading the dataset in memory", true),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", true),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true),
        ("NOAUTH Authentication required.", true),
        ("NOPERM this user has no permissions to run the 'evalsha' command", true),
        ("EXECABORT Transaction discarded because of previous errors.", true),
        ("READONLY You can't write against a read only replica. script: 5c, on @user_script:32.", true),
        ("OOM command not allowed when used memory > 'maxmemory'. script: 5c, on @user_script:32.", true),
        ("MISCONF Redis is configured to save RDB snapshots. script: 5c, on @user_script:32.", true),
        (
            "ERR Error running script (call to f_5c): @user_script:32: @user_script: 32: -READONLY You can't write "
                + "against a read only replica.", true
        ),
        ("ERR Error running script (call to f_5c): @user_script:32: -OOM command not allowed", true),
        ("ERR Error running script (call to f_5c): @user_script:32: -MISCONF Redis is configured", true),
        ("ERR Error running script (call to f_5c): @user_script:32: -NOPERM no permissions", false),
        ("ERR Error running script (call to f_5c): @user_script:32: attempt to say -OOM here", false),
        ("NOPERM this user has no permissions. script: 5c, on @user_script:90.", false),
        ("WRONGTYPE Operation against a key. script: 5c, on @user_script:32.", false),
        ("ERR user_script:32: attempt to compare nil with number script: 5c, on @user_script:32.", false),
        ("ERR unknown command 'EVALSHA'", true),
        ("ERR unknown command `EVALSHA`, with args beginning with: `5c`, `1`, `sluice:2:{alice}`, ", true),
        ("ERR Unknown Redis command called from script script: 5c, on @user_script:12.", false),
        ("", false),
    ])
    func errorsAreDescribed(_ message: String, isRefusal: Bool) {
        let error = RedisError(message)
        #expect(error.failure == (isRefusal ? .rejected(error.reason) : .unknown(error.reason)))
    }

    /// Command arguments that Redis quotes are left out, a password never appears, and everything else is kept in full.
    @Test(arguments: [
        (
            "ERR unknown command 'EVALSHA', with args beginning with: '5c' '1' 'k'", "pw",
            "ERR unknown command 'EVALSHA'"
        ),
        ("ERR unknown command 'AUTH', with args beginning with: 'hunter2' ", "hunter2", "ERR unknown command 'AUTH'"),
        ("ERR no such thing as hunter2 or 'hunter2'", "hunter2", "ERR no such thing as *** or '***'"),
        ("ERR no such thing as correct horse b...", "correct horse battery", "ERR (the rest quotes the password)"),
        (
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
                + "configuration is correct?", "",
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
                + "configuration is correct?"
        ),
    ])
    func secretsAreNotShown(message: String, secret: String, shown: String) {
        #expect(RedisError(message).reason(without: secret) == shown)
    }
}
