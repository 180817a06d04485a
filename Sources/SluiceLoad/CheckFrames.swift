package import NIOCore

/// The bytes of checks, made beforehand: sending one is a few copies.
package struct CheckFrames: Sendable {
    private let target: LoadTarget
    /// By kind of check: what stands before the grant and behind it.
    private let openings: Pieces
    private let tails: Pieces
    /// By grant and by session; as arguments of their own for sidecars, as parts of a key for Redis.
    private let grants: Pieces
    private let sessions: Pieces
    /// By kind of check.
    private let namesSession: [Bool]

    package init(_ settings: LoadSettings) {
        target = settings.target
        let kinds = settings.kinds
        namesSession = kinds.map { $0.hasSession && settings.sessionCount > 0 }
        func grantName(_ index: Int) -> String { settings.grantName(index) }
        switch settings.target {
        case .sluice:
            let tail = kinds.map { Self.checkTail($0, settings) }
            openings = Pieces(tail.map { Array("*\($0.words + 2)\r\n".utf8) + Self.bulk("CHECK") })
            tails = Pieces(tail.map(\.bytes))
            grants = Pieces((0..<settings.grantCount).map { Self.bulk(grantName($0)) })
            sessions = Pieces((0..<settings.sessionCount).map { Self.bulk(settings.sessionName($0)) })
        case .redis:
            openings = Pieces([
                Array("*7\r\n".utf8) + Self.bulk("EVALSHA")
                    + Self.bulk(BaselineScript.sha1(limits: settings.baselineLimits)) + Self.bulk("1")
            ])
            tails = Pieces(
                kinds.map {
                    Self.bulk(String($0.cost)) + Self.bulk(String(settings.baselineMax))
                        + Self.bulk(String(settings.baselineWindowMs))
                })
            grants = Pieces((0..<settings.grantCount).map { Array("\(BaselineScript.keyPrefix)\(grantName($0))".utf8) })
            sessions = Pieces((0..<settings.sessionCount).map { Array(":\(settings.sessionName($0))".utf8) })
        case .ping:
            openings = Pieces([Array("*1\r\n".utf8) + Self.bulk("PING")])
            tails = Pieces([])
            grants = Pieces([])
            sessions = Pieces([])
        }
    }

    private static func checkTail(_ kind: CheckKind, _ settings: LoadSettings) -> (words: Int, bytes: [UInt8]) {
        var words = [kind.tool]
        if kind.cost != 1 { words += ["COST", String(kind.cost)] }
        if kind.reserves { words.append("RESERVE") }
        if settings.usesOracle { words.append("TRACE") }
        // Its value is written behind all of this.
        let hasSession = settings.sessionCount > 0 && kind.hasSession
        if hasSession { words.append("SESSION") }
        return (words.count + (hasSession ? 1 : 0), words.flatMap(bulk))
    }

    package static func grantName(_ prefix: String, _ index: Int) -> String { "\(prefix)\(index)" }
    package static func sessionName(_ index: Int) -> String { "session-\(index)" }

    /// Appends the check for `check`.
    package func write(_ check: CheckTarget, to output: inout ByteBuffer) {
        switch target {
        case .sluice:
            output.writeBytes(openings[Int(check.kind)])
            output.writeBytes(grants[Int(check.grant)])
            output.writeBytes(tails[Int(check.kind)])
            if namesSession[Int(check.kind)] { output.writeBytes(sessions[Int(check.session)]) }
        case .redis:
            let grant = grants[Int(check.grant)]
            let session = sessions.isEmpty ? [] : sessions[Int(check.session)]
            output.writeBytes(openings[0])
            output.writeString("$\(grant.count + session.count)\r\n")
            output.writeBytes(grant)
            output.writeBytes(session)
            output.writeStaticString("\r\n")
            output.writeBytes(tails[Int(check.kind)])
        case .ping:
            output.writeBytes(openings[0])
        }
    }

    /// Appends what settles a reservation.
    func write(_ settlement: Settlement, to output: inout ByteBuffer) {
        output.writeString(settlement.committedCost == nil ? "*3\r\n$6\r\nCANCEL\r\n" : "*4\r\n$6\r\nCOMMIT\r\n")
        output.writeBytes(grants[Int(settlement.target.grant)])
        output.writeBytes(Self.bulk(settlement.reservation))
        if let cost = settlement.committedCost { output.writeBytes(Self.bulk(String(cost))) }
    }

    private static func bulk(_ text: String) -> [UInt8] { Array("$\(text.utf8.count)\r\n\(text)\r\n".utf8) }

    /// Many byte strings in one array.
    private struct Pieces: Sendable {
        private var bytes: [UInt8] = []
        private var ends: [Int] = []

        init(_ pieces: some Collection<[UInt8]>) {
            for piece in pieces {
                bytes += piece
                ends.append(bytes.count)
            }
        }

        var isEmpty: Bool { ends.isEmpty }

        subscript(index: Int) -> ArraySlice<UInt8> { bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }
    }
}
