import Support
import Testing

extension Integration.Outages {
    /// Whatever becomes of Redis meanwhile: afterwards it holds what was admitted, no call less and none twice.
    @Suite struct Settling {
        /// So high that no share is ever used up: a full window would prove nothing.
        static let policy = Policies.rate(1_000_000_000, per: Policies.longWindow)

        @Test(arguments: Passing.allCases) func countsAreTrueAfterAMoment(_ fault: Passing) async throws {
            let stage = try await Stage(policy: Self.policy)
            try await expectTrueCounts(on: stage) {
                for _ in 1...2 {
                    try await stage.pass(fault)
                    for sidecar in stage.sidecars { try await sidecar.waitUntilShared() }
                }
            }
        }

        @Test(arguments: Lasting.allCases) func countsAreTrueAfterAnOutage(_ fault: Lasting) async throws {
            let stage = try await Stage(policy: Self.policy)
            try await expectTrueCounts(on: stage) {
                try await stage.begin(fault)
                for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
                try await stage.end(fault)
                for sidecar in stage.sidecars { try await sidecar.waitUntilShared() }
            }
        }

        @Test(arguments: [Lasting.killed, .stopped, .refusing]) func ofFiveSidecars(_ fault: Lasting) async throws {
            let stage = try await Stage(sidecars: 5, policy: Self.policy)
            try await expectTrueCounts(on: stage, clients: 1) {
                try await stage.begin(fault)
                for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
                try await stage.end(fault)
                for sidecar in stage.sidecars { try await sidecar.waitUntilShared() }
            }
        }

        /// Lets gateways call throughout, and compares at the end.
        private func expectTrueCounts(
            on stage: Stage, clients: Int = 2, during body: () async throws -> Void
        ) async throws {
            let grants = (1...20).map { Grants.next("settled\($0)") }
            let traffic = Traffic(to: stage.sidecars, grants: grants, clients: clients)
            try await body()
            // Enough that some few which were late for want of a processor are few among them.
            for sidecar in stage.sidecars {
                try await waitUntil("there was load") { try sidecar.figure("checks") >= 1_000 }
            }
            let tallies = try await traffic.end()
            for sidecar in stage.sidecars {
                try await waitUntil("all is settled") { try sidecar.figure("unsettled_counters") == 0 }
                try stage.expectInTime(sidecar)
            }
            #expect(tallies.allSatisfy { $0.errors.isEmpty && $0.answers > 0 })
            let account = try stage.account()
            for grant in grants {
                let admitted = tallies.reduce(0) { sum, tally in
                    sum + tally.admitted.values.reduce(0) { $0 + ($1[grant] ?? 0) }
                }
                let counted = try stage.tally(of: grant)
                #expect(counted == admitted, "\(grant), \(account)")
            }
        }
    }
}
