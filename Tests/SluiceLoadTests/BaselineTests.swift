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
        #expect(try redis.command("SCRIPT", "LOAD", BaselineScript.text) == .string(BaselineScript.sha1))
        let three = try redis.command("SCRIPT", "LOAD", BaselineScript.textForThree)
        #expect(three == .string(BaselineScript.sha1ForThree))
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
