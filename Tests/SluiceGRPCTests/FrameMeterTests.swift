import Testing

@testable import SluiceGRPC

/// What is let through in one share, by the frames' heads alone.
@Suite struct FrameMeterTests {
    private static let preface = [UInt8](repeating: 0x20, count: 24)

    private static func frame(_ type: UInt8, flags: UInt8 = 0, length: Int) -> [UInt8] {
        [UInt8(length >> 16), UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF), type, flags, 0, 0, 0, 1]
            + [UInt8](repeating: 0xFF, count: length)
    }

    /// A call whose frames are no whole unit of bytes.
    private static let call = frame(1, flags: 4, length: 4) + frame(0, flags: 1, length: 6)
    private static let workPerCall = 2 * GRPCBounds.workPerFrame + GRPCBounds.workPerCall

    /// A meter that is behind the preface.
    private static func meter() -> FrameMeter {
        var meter = FrameMeter()
        _ = take(&meter, preface, share: 1_000)
        return meter
    }

    private static func take(_ meter: inout FrameMeter, _ bytes: some Collection<UInt8>, share: Int) -> (
        count: Int, work: Int
    ) {
        Array(bytes).withUnsafeBytes { meter.take($0, share: share) }
    }

    @Test func callsAreTakenWholeUntilTheShareIsUsed() {
        var meter = Self.meter()
        let bytes = (0..<10).flatMap { _ in Self.call }
        let taken = Self.take(&meter, bytes, share: 3 * Self.workPerCall)
        #expect(taken == (3 * Self.call.count, 3 * Self.workPerCall))
        #expect(Self.take(&meter, bytes.dropFirst(taken.count), share: 1).count == 9)
    }

    @Test func theSmallestShareTakesSomething() {
        for share in [1, 2] {
            var meter = FrameMeter()
            var rest = (Self.preface + Self.call + Self.frame(0, length: 5_000) + Self.call)[...]
            while !rest.isEmpty {
                let taken = Self.take(&meter, rest, share: share)
                #expect(taken.count > 0)
                #expect(taken.work <= share + Self.workPerCall)
                rest = rest.dropFirst(taken.count)
            }
        }
    }

    @Test func bytesCountWhereverTheyAreCut() {
        let bytes = Self.preface + Self.call + Self.frame(0, length: 5_000) + Self.frame(6, length: 8) + Self.call
        var whole = FrameMeter()
        let all = Self.take(&whole, bytes, share: 1_000)
        #expect(all.count == bytes.count)
        for size in [1, 2, 7, 9, 10, 64, 1_000] {
            var meter = FrameMeter()
            var (count, work) = (0, 0)
            while count < bytes.count {
                let taken = Self.take(&meter, bytes[count..<min(bytes.count, count + size)], share: 1_000)
                count += taken.count
                work += taken.work
            }
            #expect(work == all.work, "\(size)")
        }
    }

    @Test func aLargeFrameIsTakenInParts() {
        var meter = Self.meter()
        let bytes = Self.frame(0, length: 16_384)
        let taken = Self.take(&meter, bytes, share: 10)
        #expect(taken.work == 10 && taken.count <= 10 * GRPCBounds.bytesPerWork + 9)
    }

    /// Whatever the bytes are: it does not judge them.
    @Test func anythingIsTakenToItsEnd() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<100 {
            var meter = FrameMeter()
            let count = Int.random(in: 1...2_000, using: &random)
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            var rest = bytes[...]
            while !rest.isEmpty {
                let taken = Self.take(&meter, rest, share: Int.random(in: 1...100, using: &random))
                #expect(taken.count > 0 && taken.count <= rest.count)
                rest = rest.dropFirst(taken.count)
            }
        }
    }
}
