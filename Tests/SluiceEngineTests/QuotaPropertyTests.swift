import StoreModel
import Foundation
import Testing
import SluicePolicy

@testable import SluiceEngine

/// Every algorithm does what a brute-force oracle says, over random histories.
///
/// `SLUICE_PROPERTY_ROUNDS` multiplies the number of histories; `SLUICE_PROPERTY_SEED` is the seed of the first one.
@Suite struct QuotaPropertyTests {
    private static func setting(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    private static let rounds = Int(setting("SLUICE_PROPERTY_ROUNDS") ?? 1)
    private static let firstSeed = setting("SLUICE_PROPERTY_SEED") ?? 1

    private func run<Subject: QuotaSubject>(
        _ algorithm: Algorithm, _ subject: Subject.Type, histories: Int
    ) throws {
        var events = 0
        for index in 0..<histories * Self.rounds {
            var history = QuotaHistory<Subject>(algorithm, seed: Self.firstSeed &+ UInt64(index))
            events += try history.run()
        }
        #expect(events > histories)
    }

    @Test(arguments: Algorithm.allCases) func termsKeepThePromises(_ algorithm: Algorithm) throws {
        try run(algorithm, QuotaCounter.self, histories: 600)
    }

    @Test(arguments: Algorithm.allCases) func soDoesTheModelOfTheStore(_ algorithm: Algorithm) throws {
        try run(algorithm, ModelCounter.self, histories: 60)
    }
}
