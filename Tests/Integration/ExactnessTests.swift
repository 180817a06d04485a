import Foundation
import SluiceEngine
import Support
import Testing

extension Integration {
    /// The promise itself: never over, never needlessly under.
    @Suite struct Exactness {
        /// What one window of one grant saw.
        struct Tally: Sendable {
            var admitted = 0
            var denied = 0
        }

        struct Window: Hashable {
            var grant: Int
            var startMs: Int
        }

        static let max = 20
        static let grantCount = 50
        static let requestsPerWrite = 40
        /// How many windows of each grant must have been filled before the run ends.
        static let wantedWindows = 3

        @Test(arguments: [1, 2])
        func eightClientsFillEveryWindowExactly(windowSeconds: Int) async throws {
            let pair = try await Pair(policy: Policies.rate(Self.max, per: windowSeconds))
            let prefix = Grants.next()
            let stop = StopSign()
            let progress = Progress()
            let sockets = pair.both.map(\.socketPath)
            async let timeLimit: Void = {
                try? await waitUntil("every grant's windows were filled", timeout: .seconds(40)) {
                    progress.filled(atLeast: Self.wantedWindows)
                }
                stop.raise()
            }()
            let tallies = try await onThreads(8) { index in
                try Self.hammer(
                    sockets[index % 2], seed: UInt64(index), prefix: prefix, stop: stop, progress: progress)
            }
            await timeLimit
            let total = tallies.reduce(into: [Window: Tally]()) { total, tally in
                total.merge(tally) { Tally(admitted: $0.admitted + $1.admitted, denied: $0.denied + $1.denied) }
            }
            let saturated = total.filter { $0.value.denied > 0 }
            let over = total.filter { $0.value.admitted > Self.max }
            let under = saturated.filter { $0.value.admitted < Self.max }
            #expect(over.isEmpty, "windows that admitted too much")
            #expect(under.isEmpty, "windows that refused before they were full")
            for grant in 0..<Self.grantCount {
                let windows = saturated.count { $0.key.grant == grant }
                #expect(windows >= Self.wantedWindows)
            }
            for sidecar in pair.both { #expect(try sidecar.figure("late") == 0) }
        }

        /// One client: pipelines checks of random grants, and adds up what each window admitted.
        private static func hammer(
            _ socketPath: String, seed: UInt64, prefix: String, stop: StopSign, progress: Progress
        ) throws -> [Window: Tally] {
            let client = try RedisClient(path: socketPath, answerLimit: 20)
            var random = SeededRandom(seed: seed)
            var tallies: [Window: Tally] = [:]
            while !stop.isRaised {
                let grants = (0..<requestsPerWrite).map { _ in Int.random(in: 0..<grantCount, using: &random) }
                let answers = try client.pipeline(grants.map { ["CHECK", "\(prefix)-\($0)", "run", "TRACE"] })
                for (grant, answer) in zip(grants, answers) {
                    let reply = try CheckReply(answer)
                    let isRemembered = reply.source == "cache" && !reply.allowed
                    guard reply.source == "shared" || isRemembered, let look = reply.trace?.first else {
                        throw SupportError("not counted for all: \(answer)")
                    }
                    let window = Window(grant: grant, startMs: look.windowStartMs)
                    if reply.allowed {
                        tallies[window, default: Tally()].admitted += 1
                    } else {
                        tallies[window, default: Tally()].denied += 1
                        progress.note(window)
                    }
                }
            }
            return tallies
        }

        /// Which windows have been filled so far.
        final class Progress: @unchecked Sendable {
            private let lock = NSLock()
            private var windows: [Int: Set<Int>] = [:]

            func note(_ window: Window) {
                lock.withLock { _ = windows[window.grant, default: []].insert(window.startMs) }
            }

            func filled(atLeast count: Int) -> Bool {
                lock.withLock {
                    windows.count == Exactness.grantCount && windows.allSatisfy { $0.value.count >= count }
                }
            }
        }
    }
}
