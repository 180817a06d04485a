import NIOCore
import SluicePolicy

/// The JSON body of a question, as the words of the socket's command. Faults are lines such as
/// `body:1:12: /cost: found "1", expected a whole number`.
struct CheckBody {
    enum Command: String {
        case check = "CHECK"
        case peek = "PEEK"
        case charge = "CHARGE"
        case refund = "REFUND"
        case commit = "COMMIT"
        case cancel = "CANCEL"
        case release = "RELEASE"
        case clear = "CLEAR"
        case override = "OVERRIDE"
    }

    private var reader: DocumentReader
    private var words: [String]

    /// - Returns: the command's words, or every fault of the body, a line each.
    static func words(_ command: Command, _ body: ByteBuffer) -> Result<[String], PolicyFaults> {
        var faults = FaultCollector(file: "body")
        guard let value = JSONParser.parse(body.readableBytesView, faults: &faults) else {
            return .failure(faults.collected())
        }
        var parts = CheckBody(reader: DocumentReader(faults: faults), words: [command.rawValue])
        let root = DocumentNode(value: value, pointer: .root)
        if var object = parts.reader.object(root, expected: "an object with \"grant\"") {
            switch command {
            case .check, .peek: parts.readCheck(&object, isPeek: command == .peek)
            case .charge, .refund: parts.readCharge(&object)
            case .clear: parts.readClear(&object)
            case .override: parts.readOverride(&object)
            case .commit, .cancel, .release: parts.readSettlement(&object, hasCost: command == .commit)
            }
        }
        guard parts.reader.faults.isEmpty else { return .failure(parts.reader.faults.collected()) }
        return .success(parts.words)
    }

    private mutating func readCheck(_ object: inout ObjectReader, isPeek: Bool) {
        require("grant", of: &object)
        require("tool", of: &object)
        if let cost = number("cost", of: &object) { words += ["COST", cost] }
        readIdentities(&object)
        if !isPeek {
            if flag("reserve", of: &object) { words.append("RESERVE") }
            if let id = text("id", of: &object) { words += ["ID", id] }
        }
        for (key, word) in [("approved", "APPROVED"), ("trace", "TRACE")] where flag(key, of: &object) {
            words.append(word)
        }
        reader.finish(
            object,
            KnownKeys(
                ["grant", "tool", "cost", "server", "session", "attributes"] + (isPeek ? [] : ["reserve", "id"])
                    + ["approved", "trace"]))
    }

    private mutating func readCharge(_ object: inout ObjectReader) {
        require("grant", of: &object)
        require("tool", of: &object)
        requireCost(of: &object, expected: "what the call cost")
        readIdentities(&object)
        if let id = text("id", of: &object) { words += ["ID", id] }
        reader.finish(object, KnownKeys(["grant", "tool", "cost", "server", "session", "attributes", "id"]))
    }

    private mutating func readIdentities(_ object: inout ObjectReader) {
        for (key, word) in [("server", "SERVER"), ("session", "SESSION")] {
            if let text = text(key, of: &object) { words += [word, text] }
        }
        readAttributes(&object)
    }

    private mutating func requireCost(of object: inout ObjectReader, expected: String) {
        guard let node = reader.required("cost", of: &object, expected: expected), let cost = number(node) else {
            return
        }
        words.append(cost)
    }

    private mutating func readSettlement(_ object: inout ObjectReader, hasCost: Bool) {
        require("grant", of: &object)
        require("reservation", of: &object)
        if hasCost { requireCost(of: &object, expected: "the cost that the call really had") }
        reader.finish(object, KnownKeys(["grant", "reservation"] + (hasCost ? ["cost"] : [])))
    }

    private mutating func readClear(_ object: inout ObjectReader) {
        require("grant", of: &object)
        if let tool = text("tool", of: &object) { words.append(tool) }
        if let cursor = text("cursor", of: &object), !cursor.isEmpty { words += ["CURSOR", cursor] }
        if flag("dry_run", of: &object) { words.append("DRYRUN") }
        reader.finish(object, KnownKeys(["grant", "tool", "cursor", "dry_run"]))
    }

    /// An empty object lists all overrides; `max` and `seconds`, or `off`, change one.
    private mutating func readOverride(_ object: inout ObjectReader) {
        let (grant, rule) = (text("grant", of: &object), text("rule", of: &object))
        let (max, seconds) = (number("max", of: &object), number("seconds", of: &object))
        words += [grant, rule, max, seconds].compactMap(\.self)
        if flag("off", of: &object) { words.append("OFF") }
        if flag("dry_run", of: &object) { words.append("DRYRUN") }
        reader.finish(object, KnownKeys(["grant", "rule", "max", "seconds", "off", "dry_run"]))
    }

    private mutating func readAttributes(_ object: inout ObjectReader) {
        let expected = "an object with the values of attributes by their names"
        guard let node = object.take("attributes"), var attributes = reader.object(node, expected: expected) else {
            return
        }
        for (name, node) in attributes.takeAll() {
            if let value = reader.string(node, expected: "a string") { words += ["ATTR", name, value] }
        }
    }

    // MARK: - Values

    private mutating func require(_ key: String, of object: inout ObjectReader) {
        guard let node = reader.required(key, of: &object, expected: "a string"),
            let text = reader.string(node, expected: "a string")
        else { return }
        words.append(text)
    }

    /// nil if it is not there, or null.
    private mutating func text(_ key: String, of object: inout ObjectReader) -> String? {
        guard let node = object.take(key), node.value.content != .null else { return nil }
        return reader.string(node, expected: "a string")
    }

    private mutating func number(_ key: String, of object: inout ObjectReader) -> String? {
        object.take(key).flatMap { number($0) }
    }

    /// Any whole number: which ones are allowed, the command knows.
    private mutating func number(_ node: DocumentNode) -> String? {
        if case .integer(let number) = node.value.content { return String(number) }
        reader.unexpected(node.value.summary, at: node, expected: "a whole number")
        return nil
    }

    private mutating func flag(_ key: String, of object: inout ObjectReader) -> Bool {
        guard let node = object.take(key) else { return false }
        if case .bool(let isOn) = node.value.content { return isOn }
        reader.unexpected(node.value.summary, at: node, expected: "true or false")
        return false
    }
}
