@testable import sluice_load
import SluiceTerminal
import Support
import Testing

/// Runs straight at a real Redis.
@Suite struct BaselineTests {
    private func settings(_ redis: RedisProcess, _ target: LoadTarget) -> LoadSettings {
        var settings = LoadSettings(socketPaths: [redis.socketPath])
        settings.target = target
        settings.usesOracle = false
        settings.connectionsPerSocket = 2
        settings.grantCount = 5
        settings.seed = 1
        settings.warmUpNs = 50_000_000
        settings.durationNs = 200_000_000
        settings.baselineWindowMs = 3_600_000
        return settings
    }

    @Test func theScriptIsWhatItsHashSays() async throws {
        let redis = try await RedisProcess()
        for script in BaselineScript.allCases {
            #expect(try redis.command("SCRIPT", "LOAD", script.text) == .string(script.sha1), "\(script)")
        }
    }

    /// What each script leaves of ten after checks of 6, 4 and 1: the third is denied, and charges nothing.
    @Test(arguments: [BaselineScript.fixedWindow, .threeFixedWindows, .slidingWindow, .tokenBucket, .reserve])
    func deniesWhatDoesNotFit(_ script: BaselineScript) async throws {
        let redis = try await RedisProcess()
        let answers = try ["6", "4", "1"].map { cost in
            try redis.command("EVAL", script.text, "1", "k", cost, "10", "86400000", "r\(cost)")
        }
        #expect(answers == [.integer(4), .integer(0), .integer(-1)])
        #expect(try redis.command("EVAL", script.text, "1", "k", "1", "11", "86400000", "r") == .integer(0))
    }

    @Test func aReservationIsCommittedOnce() async throws {
        let redis = try await RedisProcess()
        let reserve = ["EVAL", BaselineScript.reserve.text, "1", "k", "10", "100", "60000", "r1"]
        #expect(try redis.command(reserve) == .integer(90))
        let commit = ["EVAL", BaselineScript.commit.text, "1", "k", "3", "r1"]
        #expect(try redis.command(commit) == .integer(1))
        #expect(try redis.command(commit) == .integer(0))
        #expect(try redis.command("GET", "k") == .string("3"))
    }

    @Test func redisCountsEveryCheck() async throws {
        let redis = try await RedisProcess()
        let summary = try await LoadRunner(settings(redis, .redis)).run()
        #expect(summary.statistics.failureCount == 0 && summary.statistics.decisionCount > 50)
        // Five grants of ten calls each have passed by now, and no more.
        for grant in 0..<5 {
            #expect(try redis.command("GET", "\(BaselineScript.keyPrefix)load-\(grant)") == .string("10"))
        }
        #expect(summary.table(style: .plain).contains("redis  "))
        #expect(summary.json().contains("\"redis\":{\"allowed\":"))
    }

    @Test func pingIsAnswered() async throws {
        let redis = try await RedisProcess()
        let summary = try await LoadRunner(settings(redis, .ping)).run()
        #expect(summary.statistics.failureCount == 0 && summary.statistics.decided.denied == 0)
        #expect(summary.statistics.decided.allowed > 50)
    }

    @Test func aCheckIsNoCommandOfRedis() async throws {
        let redis = try await RedisProcess()
        await #expect(throws: LoadFailure.self) { try await LoadRunner(settings(redis, .sluice)).run() }
    }
}
