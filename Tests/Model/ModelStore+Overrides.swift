import SluiceEngine

/// The list of overrides: text, as `decide.lua` describes it.
extension ModelStore {
    private struct Listed {
        var name: String
        var max: String
        var untilMs: Int64

        var text: String { "\(name) \(max) \(untilMs)" }
    }

    mutating func overrides(
        _ change: OverrideChange?, known: Int64, at key: [UInt8], nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        var (version, list) = try listed(key, nowMs: nowMs)
        var done: Int64 = 1
        if let change {
            let name = String(decoding: change.field, as: UTF8.self)
            var others = list.filter { $0.name != name }
            if change.forMs == 0 {
                done = others.count < list.count ? 1 : 0
            } else if others.count < EngineBounds.maxOverrides {
                others.append(Listed(name: name, max: "\(change.max)", untilMs: nowMs + change.forMs))
            } else {
                done = 2
            }
            if done == 1 {
                (list, version) = (others, max(version + 1, nowMs))
                let endMs = list.map { $0.untilMs + 60_000 }.max() ?? 0
                items[key] = Item(
                    value: .text(([String(version)] + list.map(\.text)).joined(separator: " ")),
                    expiresAtMs: max(nowMs + 3_600_000, endMs))
                cleared.append(key)
            }
        }
        reply.results += [done, version]
        reply.words.append(version == known ? "" : list.map(\.text).joined(separator: " "))
    }

    /// The overrides that hold, and their version.
    private func listed(_ key: [UInt8], nowMs: Int64) throws(KeyFault) -> (version: Int64, list: [Listed]) {
        let text: String
        switch value(of: key) {
        case nil: return (0, [])
        case .text(let stored): text = stored
        case .integer(let number): text = String(number)
        case .bucket, .log, .record, .idempotency: throw .notOverrides
        case .slots, .foreign: throw .wrongType
        }
        let parts = text.split(separator: " ").map(String.init)
        guard let version = parts.first.flatMap({ Int64($0) }), version >= 0 else { throw .notOverrides }
        let list = stride(from: 1, to: parts.count - 2, by: 3).map {
            Listed(name: parts[$0], max: parts[$0 + 1], untilMs: Int64(parts[$0 + 2]) ?? 0)
        }
        return (version, list.filter { $0.untilMs > nowMs })
    }
}
