import NIOCore

/// The encoded checks, prepared in advance: sending one is a few copies.
///
/// Made once a run, and shared by all connections.
final class CheckFrames: Sendable {
    private let target: LoadTarget
    /// The bytes before the grant: for sidecars by kind of check, for Redis by that and the length of the key.
    private let openings: Pieces
    /// How many lengths of keys there may be.
    private let keyLengths: Int
    /// The bytes after the grant, by kind of check.
    private let tails: Pieces
    /// By grant and by session; for sidecars separate arguments, for Redis parts of a key.
    private let grants: Pieces
    private let sessions: Pieces
    /// By kind of check.
    private let namesSession: [Bool]
    /// By kind of check.
    private let needsReservation: [Bool]
    private let toolNames: [[UInt8]]
    private let servers: [[UInt8]]

    init(_ settings: LoadSettings) {
        target = settings.target
        let kinds = settings.kinds
        namesSession = kinds.map { $0.hasSession && settings.sessionCount > 0 }
        needsReservation = kinds.map { $0.reserves && settings.target == .redis }
        func grantName(_ index: Int) -> String { settings.grantName(index) }
        switch settings.target {
        case .sluice:
            let tail = kinds.map { Self.checkTail($0, settings) }
            keyLengths = 0
            openings = Pieces(
                zip(kinds, tail).map { kind, tail in
                    Array("*\(tail.words + 2)\r\n".utf8) + Self.bulk(kind.charges ? "CHARGE" : "CHECK")
                })
            toolNames = kinds.map { Self.bulk($0.tool) }
            servers = kinds.map { kind in kind.server.map { Self.bulk("SERVER") + Self.bulk($0) } ?? [] }
            tails = Pieces(tail.map(\.bytes))
            grants = Pieces((0..<settings.grantCount).map { Self.bulk(grantName($0)) })
            sessions = Pieces((0..<settings.sessionCount).map { Self.bulk(settings.sessionName($0)) })
        case .redis:
            (toolNames, servers) = ([], [])
            grants = Pieces((0..<settings.grantCount).map { Array("\(BaselineScript.keyPrefix)\(grantName($0))".utf8) })
            sessions = Pieces((0..<settings.sessionCount).map { Array(":\(settings.sessionName($0))".utf8) })
            keyLengths = grants.longest + sessions.longest + 1
            openings = Pieces(
                kinds.flatMap { [keyLengths] kind in
                    let command = Self.evalSHA(kind.baseline, words: kind.reserves ? 8 : 7)
                    return (0..<keyLengths).map { command + Array("$\($0)\r\n".utf8) }
                })
            tails = Pieces(
                kinds.map {
                    Array("\r\n".utf8) + Self.bulk(String($0.cost)) + Self.bulk(String(settings.baselineMax))
                        + Self.bulk(String(settings.baselineWindowMs))
                })
        case .ping:
            (toolNames, servers) = ([], [])
            keyLengths = 0
            openings = Pieces([Array("*1\r\n".utf8) + Self.bulk("PING")])
            tails = Pieces([])
            grants = Pieces([])
            sessions = Pieces([])
        }
    }

    /// The beginning of a call of a script with one key.
    private static func evalSHA(_ script: BaselineScript, words: Int) -> [UInt8] {
        Array("*\(words)\r\n".utf8) + bulk("EVALSHA") + bulk(script.sha1) + bulk("1")
    }

    private static func checkTail(_ kind: CheckKind, _ settings: LoadSettings) -> (words: Int, bytes: [UInt8]) {
        var words = [kind.tool]
        if kind.charges {
            words.append(String(kind.cost))
        } else if kind.cost != 1 {
            words += ["COST", String(kind.cost)]
        }
        if kind.reserves { words.append("RESERVE") }
        if settings.usesOracle && !kind.charges { words.append("TRACE") }
        if let server = kind.server { words += ["SERVER", server] }
        // Its value is written after all of this.
        let hasSession = settings.sessionCount > 0 && kind.hasSession
        if hasSession { words.append("SESSION") }
        return (words.count + (hasSession ? 1 : 0), words.flatMap(bulk))
    }

    static func grantName(_ prefix: String, _ index: Int) -> String { "\(prefix)\(index)" }
    static func sessionName(_ index: Int) -> String { "session-\(index)" }

    /// Whether its reservation must be numbered by who sends it: a sidecar names it itself.
    func needsReservation(_ check: CheckTarget) -> Bool { needsReservation[Int(check.kind)] }

    /// Appends the check for `check`.
    ///
    /// - Parameter reservation: the number of its reservation, if `needsReservation`.
    func write(_ check: CheckTarget, reservation: UInt64? = nil, to output: inout ByteBuffer) {
        switch target {
        case .sluice:
            let kind = Int(check.kind)
            openings.write(kind, to: &output)
            grants.write(Int(check.grant), to: &output)
            tails.write(kind, to: &output)
            if namesSession[kind] { sessions.write(Int(check.session), to: &output) }
        case .redis:
            let hasSession = !sessions.isEmpty
            let grant = Int(check.grant)
            let session = Int(check.session)
            let length = grants.count(grant) + (hasSession ? sessions.count(session) : 0)
            openings.write(Int(check.kind) * keyLengths + length, to: &output)
            grants.write(grant, to: &output)
            if hasSession { sessions.write(session, to: &output) }
            tails.write(Int(check.kind), to: &output)
            if let reservation { output.writeBytes(Self.bulk(String(reservation))) }
        case .ping:
            openings.write(0, to: &output)
        }
    }

    /// Appends the command that settles a reservation.
    func write(_ settlement: Settlement, to output: inout ByteBuffer) {
        guard target != .redis else { return writeToRedis(settlement, to: &output) }
        output.writeString(settlement.committedCost == nil ? "*3\r\n$6\r\nCANCEL\r\n" : "*4\r\n$6\r\nCOMMIT\r\n")
        grants.write(Int(settlement.target.grant), to: &output)
        output.writeBytes(Self.bulk(settlement.reservation))
        if let cost = settlement.committedCost { output.writeBytes(Self.bulk(String(cost))) }
    }

    private func writeToRedis(_ settlement: Settlement, to output: inout ByteBuffer) {
        let grant = Int(settlement.target.grant)
        output.writeBytes(Self.evalSHA(.commit, words: 6))
        output.writeString("$\(grants.count(grant))\r\n")
        grants.write(grant, to: &output)
        output.writeString("\r\n")
        output.writeBytes(Self.bulk(String(settlement.committedCost ?? 0)) + Self.bulk(settlement.reservation))
    }

    /// Appends the command that gives back a part of a charge.
    func write(_ refund: Refund, to output: inout ByteBuffer) {
        let kind = Int(refund.target.kind)
        let words = 4 + (servers[kind].isEmpty ? 0 : 2) + (namesSession[kind] ? 2 : 0)
        output.writeString("*\(words)\r\n$6\r\nREFUND\r\n")
        grants.write(Int(refund.target.grant), to: &output)
        output.writeBytes(toolNames[kind] + Self.bulk(String(refund.cost)) + servers[kind])
        if namesSession[kind] {
            output.writeBytes(Self.bulk("SESSION"))
            sessions.write(Int(refund.target.session), to: &output)
        }
    }

    private static func bulk(_ text: String) -> [UInt8] { Array("$\(text.utf8.count)\r\n\(text)\r\n".utf8) }

    /// Many byte strings in one array.
    private struct Pieces: Sendable {
        private var bytes: [UInt8] = []
        /// Where each begins, and at the end where the last one ends.
        private var starts = [0]
        /// The length of the longest.
        private(set) var longest = 0

        init(_ pieces: some Collection<[UInt8]>) {
            for piece in pieces {
                bytes += piece
                starts.append(bytes.count)
                longest = max(longest, piece.count)
            }
        }

        var isEmpty: Bool { starts.count == 1 }

        @inline(__always)
        func count(_ index: Int) -> Int { starts[index + 1] - starts[index] }

        @inline(__always)
        func write(_ index: Int, to output: inout ByteBuffer) {
            output.writeBytes(bytes.span.bytes.extracting(starts[index]..<starts[index + 1]))
        }
    }
}
