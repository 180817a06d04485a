import Foundation
import Support
import Testing

extension Integration {
    /// Whether the load driver distinguishes a sidecar that counts correctly from one that does not.
    @Suite struct LoadDriving {
        /// The key of the first counter of these grants that holds at least `used`; waits for it.
        private func counter(
            of grants: [String], reaching used: Int, in redis: RedisProcess, under driver: LoadDriver
        ) async throws -> String {
            let client = try redis.client()
            let found = Found()
            try await waitUntil("a counter reaches \(used)", timeout: .seconds(60)) {
                guard driver.process.isRunning else {
                    throw SupportError("sluice-load ended: \(driver.process.output)\(driver.process.errors)")
                }
                for grant in grants {
                    guard case .array(let keys) = try client.command("KEYS", "sluice:2:{\(grant)}:run:*") else {
                        continue
                    }
                    for case .string(let key) in keys {
                        guard case .string(let text) = try client.command("GET", key), let value = Int(text),
                            value >= used
                        else { continue }
                        found.key = key
                        return true
                    }
                }
                return false
            }
            return found.key
        }

        private final class Found: @unchecked Sendable { var key = "" }

        @Test func sidecarsThatAdmitOneTooManyAreCaught() async throws {
            let pair = try await Pair(policy: Policies.rate(11, per: 1))
            let grants = [Grants.next(), Grants.next()]
            let driver = try LoadDriver(pair.both, grants: grants, judgeBy: Policies.rate(10, per: 1))
            _ = try await counter(of: grants, reaching: 11, in: pair.redis, under: driver)
            let outcome = try await driver.interrupt()
            #expect(outcome.status == 1)
            #expect(outcome.output.contains("never over: grant \(grants[0].prefix(8))"))
            #expect(outcome.output.contains("/tools/run/limits/runs, window from "))
            #expect(outcome.output.contains("the maximum is 10"))
        }

        @Test func sidecarsThatCountRightAreNot() async throws {
            let pair = try await Pair(policy: Policies.rate(11, per: 1))
            let grants = [Grants.next(), Grants.next()]
            let driver = try LoadDriver(pair.both, grants: grants, judgeBy: Policies.rate(11, per: 1))
            _ = try await counter(of: grants, reaching: 11, in: pair.redis, under: driver)
            let outcome = try await driver.interrupt()
            #expect(outcome.status == 0, "\(outcome.output)")
            #expect(outcome.output.contains("every promise was kept"))
        }

        @Test(arguments: [1, -1])
        func aCounterThatIsNotWhatWasAdmittedIsCaught(by difference: Int) async throws {
            let pair = try await Pair(policy: Policies.rate(100_000_000, per: Policies.longWindow))
            let grants = [Grants.next()]
            let driver = try LoadDriver(pair.both, grants: grants)
            let key = try await counter(of: grants, reaching: 10, in: pair.redis, under: driver)
            try pair.redis.command("INCRBY", key, "\(difference)")
            let outcome = try await driver.interrupt()
            #expect(outcome.status == 1, "\(outcome.output)")
            #expect(outcome.output.contains("charged once: grant \(grants[0]), /tools/run/limits/runs, window from "))
            #expect(outcome.output.contains(difference > 0 ? "something was charged twice" : "a charge was lost"))
        }

        @Test func reservationsAreCountedToTheUnit() async throws {
            let pair = try await Pair(policy: Policies.rate(100_000_000, per: Policies.longWindow))
            let grants = [Grants.next()]
            let driver = try LoadDriver(
                pair.both, grants: grants, ["--cost", "5", "--reserve", "50", "--cancel", "50"])
            _ = try await counter(of: grants, reaching: 500, in: pair.redis, under: driver)
            let outcome = try await driver.interrupt()
            #expect(outcome.status == 0, "\(outcome.output)")
            #expect(outcome.output.contains("counters at the end, from a sidecar: used = admitted in 1 of 1 window\n"))
            #expect(outcome.output.contains("from sending COMMIT to its answer"))
            #expect(outcome.output.contains("from sending CANCEL to its answer"))
        }

        /// Charges past the maximum and refunds, over windows of a second: sums are exact, or differ at a border by charges
        /// whose window the driver does not know.
        @Test func chargesAndRefundsAreCountedToTheUnit() async throws {
            let outcome = try await LoadDriver.run([
                "--spawn", "--duration", "3s", "--warm-up", "0", "--budget", "5s", "--connections", "2", "--pipeline",
                "2", "--grants", "3", "--cost", "1", "--cost", "9=0.2", "--charge", "20", "--refund", "50",
            ])
            #expect(outcome.status == 0, "\(outcome.output)")
            #expect(outcome.output.contains("counters at the end, from Redis: used = admitted in "))
        }

        @Test func aChargeThatIsLostIsCaught() async throws {
            let policy = Policies.rate(100_000_000, per: Policies.longWindow)
            let pair = try await Pair(policy: policy)
            let grants = [Grants.next()]
            let driver = try LoadDriver(
                pair.both, grants: grants, judgeBy: policy, ["--cost", "5", "--charge", "50", "--refund", "50"])
            let key = try await counter(of: grants, reaching: 500, in: pair.redis, under: driver)
            try pair.redis.command("DECRBY", key, "1")
            let outcome = try await driver.interrupt()
            #expect(outcome.status == 1 && outcome.output.contains("a charge was lost"), "\(outcome.output)")
        }

        /// Each tool of a pattern, and each server under `"*"`, has a maximum of its own.
        @Test func countersOfEachToolAndServerAreJudged() async throws {
            let folder = try TemporaryFolder()
            let limits = #""limits": [{"counter": "c", "window": 1, "max": 20}]"#
            let policy = try folder.write(
                #"""
                {"version": "1", "default": "deny", "tools": {"f_*": {"each_tool": true, \#(limits)}},
                 "servers": {"*": {"tools": {"f_*": {\#(limits)}}}}}
                """#, to: "policy.json")
            for servers in [[], ["--server", "one", "--server", "two"]] {
                let arguments = [
                    "--spawn", "--policy", policy, "--duration", "3s", "--warm-up", "0", "--budget", "5s",
                    "--connections", "2", "--pipeline", "2", "--grants", "2", "--tool", "f_a", "--tool", "f_b",
                ]
                let outcome = try await LoadDriver.run(arguments + servers)
                #expect(outcome.status == 0, "\(outcome.output)")
                #expect(!outcome.output.contains("not judged"), "\(outcome.output)")
                #expect(outcome.output.contains("counters at the end, from Redis: used = admitted in "))
            }
        }

        /// The driver's own tool is not in the policy: every check is denied by default, and nothing is counted.
        @Test func aRunThatCountsNothingJudgesNothing() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.rate(10, per: 1), replicas: 1)
            let arguments = [
                "--socket", sidecar.socketPath, "--connections", "1", "--pipeline", "1", "--warm-up", "0", "--duration",
                "100ms",
            ]
            let outcome = try await LoadDriver.run(arguments)
            #expect(outcome.status == 3, "\(outcome.output)")
            #expect(outcome.output.contains("nothing was judged: no limit counted anything; does the policy limit \""))
            #expect(!outcome.output.contains("every promise was kept"))
            #expect(try await LoadDriver.run(arguments + ["--no-oracle"]).status == 0)
        }

        @Test func itsOwnSidecarsCountRight() async throws {
            let outcome = try await LoadDriver.run([
                "--spawn", "--duration", "2s", "--warm-up", "0", "--budget", "5s", "--connections", "2", "--pipeline",
                "4", "--reserve", "10",
            ])
            #expect(outcome.status == 0, "\(outcome.output)")
            #expect(outcome.output.contains("counters at the end, from Redis: used = admitted in "))
        }
    }
}
