import Foundation
import Support
import Synchronization
import Testing

@Suite struct StatusTests {
    private static func info(
        redis: String = "unix:///r.sock", state: String = "closed", counting: String = "shared", checks: Int = 420,
        uptimeMs: Int = 245_000, late: Int = 0,
        answers: String = "answers_shared_allow:400\r\nanswers_local_limit:20\r\n", more: String = ""
    ) -> String {
        StubSidecar.text(
            """
            # Server\r
            sluice_version:9.8.7\r
            process_id:17\r
            replica_id:ab12\r
            uptime_ms:\(uptimeMs)\r
            connected_clients:3\r
            \r
            # Policy\r
            policy:deploy/policy.json\r
            \r
            # Redis\r
            redis_address:\(redis)\r
            redis_state:\(state)\r
            redis_server:Redis 7.0.15, master\r
            counting:\(counting)\r
            outages:1\r
            memory_losses:0\r
            \r
            # Checks\r
            checks:\(checks)\r
            batches:30\r
            entries:40\r
            coalesced_checks:400\r
            timed_out:2\r
            late:\(late)\r
            overloaded:0\r
            key_faults:0\r
            \r
            \(more)# Answers\r
            \(answers)
            """)
    }

    @Test func theTablesAreShown() async throws {
        let stub = try await StubSidecar { _ in Self.info() }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(run.errors == "")
        #expect(run.exitCode == 0)
        #expect(
            run.output == """
                version   9.8.7
                uptime    4m 5s
                process   17, replica ab12
                socket    \(stub.path), 3 connected
                policy    deploy/policy.json
                redis     unix:///r.sock, connected, Redis 7.0.15, master
                counting  shared
                outages   1, 0 with memory lost
                checks    420, 1.7/s since start
                batches   30, of 40 entries for 400 checks
                trouble   0 late, 2 timed out, 0 overloaded, 0 key faults

                source  allow  limit
                shared    400      0
                local       0     20

                """)
    }

    @Test func aSampleIsTakenOfOneSecond() async throws {
        let readings = Mutex(0)
        let stub = try await StubSidecar { _ in
            let reading = readings.withLock { count in
                count += 1
                return count
            }
            return Self.info(checks: 420 * reading, uptimeMs: 245_000 + 1_000 * (reading - 1))
        }
        let run = await ControlRun.of("status", "--socket", stub.path, "--rate")
        #expect(run.output.contains("\nchecks    840, 420.0/s in the last 1s\n"))
    }

    @Test func json() async throws {
        let stub = try await StubSidecar { _ in Self.info(redis: "none", state: "none", counting: "local") }
        let run = await ControlRun.of("status", "--socket", stub.path, "--json")
        let json = try run.json()
        #expect(json["version"] as? String == "9.8.7")
        #expect(json["redis"] as? String == nil)
        #expect(json["ready"] as? Bool == true)
        #expect(json["checks_per_s"] as? Double == 1.7)
        #expect((json["answers"] as? [[String: Any]])?.count == 2)
    }

    @Test func whatAnOutageHasLeft() async throws {
        let more = """
            settled:7\r
            unsettled_counters:4\r
            # State\r
            state_dir:/var/lib/sluice/state\r
            state_file_bytes:184320\r
            state_unwritten:0\r
            state_faults:2\r

            """
        let stub = try await StubSidecar { _ in Self.info(more: more) }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(
            run.output.contains(
                """
                outages   1, 0 with memory lost
                settling  4 counters hold usage that Redis does not have yet
                state     /var/lib/sluice/state, 0 changes not written, 2 faults
                checks    420

                """.dropLast(1)))
        let json = try await ControlRun.of("status", "--socket", stub.path, "--json").json()
        #expect(json["settled"] as? Int == 7 && json["unsettled_counters"] as? Int == 4)
        #expect((json["state"] as? [String: Any])?["folder"] as? String == "/var/lib/sluice/state")
        let none = try await StubSidecar { _ in Self.info(more: "# State\r\nstate_dir:none\r\n") }
        let other = try await ControlRun.of("status", "--socket", none.path, "--json").json()
        #expect(other["state"] is NSNull)
    }

    /// The same reply with another text.
    private static func changed(_ reply: String, _ change: (String) -> String) -> String {
        StubSidecar.text(change(String(reply.drop { $0 != "\r\n" }.dropFirst().dropLast())))
    }

    private static let rejection = "NOPERM User sluice has no permissions to run the 'evalsha' command"

    /// Why Redis is not used is shown while it is not; for programs it is kept.
    @Test func whyRedisIsNotUsed() async throws {
        for (counting, state, isShown) in [("local", "resting", true), ("shared", "closed", false)] {
            let stub = try await StubSidecar { _ in
                Self.changed(Self.info(state: state, counting: counting)) {
                    $0.replacing("counting:", with: "redis_last_error:\(Self.rejection)\r\ncounting:")
                }
            }
            let run = await ControlRun.of("status", "--socket", stub.path)
            #expect(run.output.contains("\nreason    \(Self.rejection)\n") == isShown)
            let json = try await ControlRun.of("status", "--socket", stub.path, "--json").json()
            #expect((json["redis"] as? [String: Any])?["last_error"] as? String == Self.rejection)
            guard isShown else { continue }
            let wait = await ControlRun.of("status", "--socket", stub.path, "--wait", "--timeout", "200ms")
            #expect(wait.exitCode == 2 && wait.errors.contains("but it refuses to work (\(Self.rejection))"))
        }
    }

    /// A script that watches sidecars learns from the code that limits hold for each replica alone.
    @Test func countingAloneHasACodeOfItsOwn() async throws {
        let since = "redis_unavailable_since_ms:1796007920616\r\nredis_unavailable_ms:65000\r\n"
        for (redis, state, counting, code) in [
            ("unix:///r.sock", "resting", "local", Int32(4)), ("unix:///r.sock", "recovering", "local", 4),
            ("unix:///r.sock", "closed", "shared", 0), ("none", "none", "local", 0),
        ] {
            let stub = try await StubSidecar { _ in
                Self.changed(Self.info(redis: redis, state: state, counting: counting)) {
                    $0.replacing("counting:", with: (code == 4 ? since : "") + "counting:")
                }
            }
            let run = await ControlRun.of("status", "--socket", stub.path)
            #expect(run.exitCode == code && run.errors == "")
            let alone = "\ncounting  local for 1m 5s: this replica counts alone, Redis is not used\n"
            let isAlone = run.output.contains(alone)
            #expect(isAlone == (state == "resting"), "\(run.output)")
            let json = await ControlRun.of("status", "--socket", stub.path, "--json")
            #expect(json.exitCode == code)
            let facts = try json.json()["redis"] as? [String: Any]
            #expect(facts?["unavailable_ms"] as? Int == (code == 4 ? 65_000 : nil))
            #expect(facts?["unavailable_since_ms"] as? Int == (code == 4 ? 1_796_007_920_616 : nil))
            let alive = await ControlRun.of("status", "--socket", stub.path, "--alive")
            #expect(alive.exitCode == 0 && alive.output == run.output)
            guard code == 4 else { continue }
            let wait = await ControlRun.of("status", "--socket", stub.path, "--wait", "--timeout", "200ms")
            #expect(wait.exitCode == 2 && wait.errors.hasSuffix(", for 1m 5s\n"))
        }
    }

    /// Of a cluster it is shown which masters are away, since when, and why.
    @Test func mastersThatAreAwayAreShown() async throws {
        let facts = """
            partitions:64\r
            partitions_shared:40\r
            redis_masters:3\r
            redis_masters_away:1\r
            redis_unavailable_since_ms:1796007920616\r
            redis_unavailable_ms:65000\r
            redis_last_error:connection refused\r
            redis_master_1:address=10.0.0.1:6379,partitions=21,partitions_shared=21,state=closed,\
            unavailable_since_ms=0,unavailable_ms=0,last_error=\r
            redis_master_2:address=10.0.0.2:6379,partitions=22,partitions_shared=0,state=open,\
            unavailable_since_ms=1796007920616,unavailable_ms=65000,last_error=refused, a=b\r
            redis_master_3:address=10.0.0.3:6379,partitions=19,partitions_shared=19,state=closed,\
            unavailable_since_ms=0,unavailable_ms=0,last_error=\r
            redis_master_4:address=,partitions=2,partitions_shared=0,state=open,\
            unavailable_since_ms=1796007980616,unavailable_ms=5000,last_error=\r

            """
        let stub = try await StubSidecar { _ in
            Self.changed(Self.info(redis: "redis+cluster://10.0.0.1", state: "open", counting: "partly local")) {
                $0.replacing("counting:", with: facts + "counting:")
            }
        }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(run.exitCode == 4)
        #expect(
            run.output.contains(
                """
                redis     redis+cluster://10.0.0.1, 2 of 3 masters in use, Redis 7.0.15, master
                away      10.0.0.2:6379 for 1m 5s, 22 of 64 parts: no connection (refused, a=b)
                away      no master has 2 of 64 parts, for 5s
                counting  partly local for 1m 5s: 40 of 64 parts are shared, this replica counts the others alone
                """), "\(run.output)")
        let json = try await ControlRun.of("status", "--socket", stub.path, "--json").json()
        let masters = (json["redis"] as? [String: Any])?["masters"] as? [[String: Any]] ?? []
        #expect(masters.map { $0["address"] as? String } == ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379", nil])
        #expect(masters.map { $0["unavailable_ms"] as? Int } == [nil, 65_000, nil, 5_000])
        #expect(masters[1]["last_error"] as? String == "refused, a=b")
        let wait = await ControlRun.of("status", "--socket", stub.path, "--wait", "--timeout", "200ms")
        #expect(
            wait.errors.contains(
                "counting is partly local, Redis at redis+cluster://10.0.0.1: 2 of 3 masters in use, not 10.0.0.2:6379")
        )
    }

    /// What Redis does not let the sidecar do is shown though counting is shared.
    @Test func whatIsLostIsShown() async throws {
        let facts = """
            redis_limitations:2\r
            redis_limitation_1:every batch brings its script along (ERR a)\r
            redis_limitation_2:two; (b)\r
            subscription:down\r
            subscription_last_error:NOPERM c\r
            key_last_fault:ERR d\r
            key_faults:1\r

            """
        let stub = try await StubSidecar { _ in
            Self.changed(Self.info()) {
                $0.replacing("key_faults:0\r\n", with: "").replacing("counting:", with: facts + "counting:")
            }
        }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(run.exitCode == 0)
        #expect(
            run.output.contains(
                """
                counting  shared, denial cache off: Redis notifications unavailable (NOPERM c)
                limited   every batch brings its script along (ERR a)
                limited   two; (b)
                fault     a key in Redis: ERR d
                outages
                """), "\(run.output)")
        let redis = try await ControlRun.of("status", "--socket", stub.path, "--json").json()["redis"] as? [String: Any]
        #expect(redis?["limitations"] as? [String] == ["every batch brings its script along (ERR a)", "two; (b)"])
        #expect(redis?["notifications_error"] as? String == "NOPERM c" && redis?["key_fault"] as? String == "ERR d")
    }

    /// To others than operators a sidecar does not show where Redis is: whether there is one shows all the same.
    @Test func othersThanOperatorsMayAsk() async throws {
        let stub = try await StubSidecar { _ in
            Self.changed(Self.info(state: "resting", counting: "local")) {
                $0.replacing("redis_address:unix:///r.sock\r\n", with: "")
                    .replacing("policy:deploy/policy.json\r\n", with: "")
            }
        }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(
            run.output.contains("\npolicy    -\nredis     connected, but it refuses to work, Redis 7.0.15, master\n"))
        #expect(try await ControlRun.of("status", "--socket", stub.path, "--json").json()["ready"] as? Bool == false)
    }

    /// A script that deploys a policy learns from the code that it was not taken; one that waits for readiness does not care.
    @Test func refusedPoliciesAreShown() async throws {
        let fault = "policy.json:1:2: /default: found 3, expected \"allow\" or \"deny\""
        let more = "# Policy\r\npolicy_reloads:2\r\npolicy_refusals:1\r\npolicy_last_refusal:\(fault)\r\n"
        let stub = try await StubSidecar { _ in Self.info(more: more) }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(run.exitCode == 3 && run.errors == "")
        #expect(
            run.output.contains(
                "\npolicy    deploy/policy.json\nrefused   newer policies, the last good ones stay: \(fault)\nredis "))
        let json = await ControlRun.of("status", "--socket", stub.path, "--json")
        #expect(json.exitCode == 3)
        #expect(try json.json()["policy_refused"] as? String == fault && json.json()["policy_reloads"] as? Int == 2)
        #expect(await ControlRun.of("status", "--socket", stub.path, "--wait").exitCode == 0)

        let good = try await StubSidecar { _ in Self.info(more: more.replacing(fault, with: "")) }
        let fine = await ControlRun.of("status", "--socket", good.path, "--json")
        #expect(try fine.exitCode == 0 && fine.json()["policy_refused"] is NSNull)
    }

    @Test(arguments: [
        ("socket_remakes:0\r\nsocket_trouble:\r\n", ""),
        ("socket_remakes:1\r\nsocket_trouble:\r\n", "; its file was gone once and made again"),
        ("socket_remakes:2\r\nsocket_trouble:\r\n", "; its file was gone 2 times and made again"),
        ("socket_remakes:2\r\nsocket_trouble:in use\r\n", "; its file is gone: in use"),
    ]) func whatBecameOfTheSocketIsShown(more: String, words: String) async throws {
        let stub = try await StubSidecar { _ in Self.info(more: more) }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(run.exitCode == 0 && run.output.contains("\nsocket    \(stub.path), 3 connected\(words)\n"))
        let json = try await ControlRun.of("status", "--socket", stub.path, "--json").json()
        #expect(json["socket_trouble"] as? String == (more.contains("in use") ? "in use" : nil))
    }

    @Test func aClockThatIsBehind() async throws {
        for (behindMs, follows, line) in [
            (90_000, 0, "clock     Redis' is 1m 30s behind its earlier time\n"),
            (0, 2, "clock     was followed back 2 times\n"),
        ] {
            let more = "redis_clock_behind_ms:\(behindMs)\r\nredis_clock_follows:\(follows)\r\n"
            let stub = try await StubSidecar { _ in Self.info(more: more) }
            let run = await ControlRun.of("status", "--socket", stub.path)
            #expect(run.output.contains("with memory lost\n" + line), "\(run.output)")
            let json = try await ControlRun.of("status", "--socket", stub.path, "--json").json()
            #expect(json["redis_clock_behind_ms"] as? Int == behindMs)
            #expect(json["redis_clock_follows"] as? Int == follows)
        }
    }

    @Test func redisItselfIsNotASidecar() async throws {
        let stub = try await StubSidecar { _ in StubSidecar.text("# Server\r\nredis_version:7.0.15\r\n") }
        let run = await ControlRun.of("status", "--socket", stub.path)
        #expect(run.exitCode == 2)
        #expect(run.errors.contains("expected the INFO of a sidecar"))
    }

    // MARK: - Waiting

    private static let missing = "counting is local, Redis at unix:///r.sock: connected, but it refuses to work"

    /// The sidecar becomes ready only after the command has reported what it waits for.
    @Test func saysWhatItWaitsForUntilCountingIsShared() async throws {
        let hasWritten = Mutex(false)
        let stub = try await StubSidecar { _ in
            hasWritten.withLock { $0 } ? Self.info() : Self.info(state: "resting", counting: "local")
        }
        let run = await ControlRun.of(
            ["status", "--socket", stub.path, "--wait", "--timeout", "300s"],
            onError: { _ in hasWritten.withLock { $0 = true } })
        #expect(run.exitCode == 0)
        #expect(run.output.contains("\ncounting  shared\n"))
        let line = try #require(run.errors.split(separator: "\n").first)
        #expect(line.hasPrefix("waiting, ") && line.hasSuffix("s of 5m: \(Self.missing)"))
    }

    /// What is waited for is on standard error, a line of JSON each; the outcome is on standard output.
    @Test func itWaitsInJSON() async throws {
        let hasWritten = Mutex(false)
        let stub = try await StubSidecar { _ in
            hasWritten.withLock { $0 } ? Self.info() : Self.info(state: "resting", counting: "local")
        }
        let run = await ControlRun.of(
            ["status", "--socket", stub.path, "--wait", "--timeout", "300s", "--json"],
            onError: { _ in hasWritten.withLock { $0 = true } })
        #expect(try run.exitCode == 0 && run.json()["ready"] as? Bool == true)
        let line = try #require(run.errors.split(separator: "\n").first)
        let progress = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(progress["timeout_ms"] as? Int == 300_000 && progress["missing"] as? String == Self.missing)
        #expect((progress["waited_ms"] as? Int ?? 0) >= 2_000)
    }

    @Test func itGivesUpInTheEnd() async throws {
        let stub = try await StubSidecar { _ in Self.info(state: "resting", counting: "local") }
        let run = await ControlRun.of("status", "--socket", stub.path, "--wait", "--timeout", "1500ms")
        #expect(run.exitCode == 2)
        #expect(run.output == "")
        // The last answer says what was missing, or that on a busy machine none came.
        let line = try #require(run.errors.split(separator: "\n").last)
        #expect(line.hasPrefix("sluicectl: not ready after 1.5s: "))
    }

    @Test func noSidecarIsWaitedForToo() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("a.sock")
        let run = await ControlRun.of("status", "--socket", path, "--wait", "--timeout", "200ms")
        #expect(run.exitCode == 2)
        #expect(
            run.errors == "sluicectl: not ready after 200ms: cannot connect to \(path): No such file or directory, is "
                + "sluiced running?\n")
        #expect(await ControlRun.of("status", "--socket", path, "--alive").exitCode == 2)
    }
}
