import Logging
import SluicePolicy

/// Makes `Settings` of what flags, environment and configuration file say. Every fault is found in one go.
package struct SettingsResolver {
    /// Reads a file, whole; throws a reason that fits behind its path.
    package typealias ReadFile = (String) throws(FileReadError) -> [UInt8]

    private let flags: [SettingName: String]
    private let environment: [String: String]
    private let readFile: ReadFile
    private var file: [SettingName: SettingValue] = [:]
    private var faults: [String] = []

    /// - Parameters:
    ///   - flags: what the command line gave.
    ///   - configurationPath: a JSON object whose keys are the flags' names.
    package static func resolve(
        flags: [SettingName: String], environment: [String: String], configurationPath: String?,
        readFile: @escaping ReadFile
    ) throws(SettingFaults) -> Settings {
        var resolver = SettingsResolver(flags: flags, environment: environment, readFile: readFile)
        if let path = configurationPath ?? environment["SLUICE_CONFIG"] { resolver.read(path) }
        let settings = resolver.settings()
        guard let settings, resolver.faults.isEmpty else { throw SettingFaults(resolver.faults) }
        return settings
    }

    private init(flags: [SettingName: String], environment: [String: String], readFile: @escaping ReadFile) {
        self.flags = flags
        self.environment = environment
        self.readFile = readFile
    }

    // MARK: - Where values come from

    private mutating func read(_ path: String) {
        let bytes: [UInt8]
        do {
            bytes = try readFile(path)
        } catch {
            faults.append("\(path): \(error.reason)")
            return
        }
        var collector = FaultCollector(file: path)
        guard let document = JSONParser.parse(bytes, faults: &collector) else {
            note(collector)
            return
        }
        var reader = DocumentReader(faults: collector)
        let root = DocumentNode(value: document, pointer: .root)
        if var object = reader.object(root, expected: "an object of settings") {
            for name in SettingName.allCases {
                guard let node = object.take(name.rawValue) else { continue }
                let origin = "\(path):\(node.value.position.line):\(node.value.position.column): \(node.pointer.text)"
                switch node.value.content {
                case .string(let text): file[name] = SettingValue(text: text, origin: origin)
                case .integer(let number): file[name] = SettingValue(text: String(number), origin: origin)
                case .bool(let isOn) where name.isSwitch:
                    file[name] = SettingValue(text: String(isOn), origin: origin)
                default:
                    let expected = name.isSwitch ? "true or false" : "a string or a whole number"
                    reader.unexpected(node.value.summary, at: node, expected: expected)
                }
            }
            reader.finish(object, KnownKeys(SettingName.allCases.map(\.rawValue)))
        }
        note(reader.faults)
    }

    private mutating func note(_ collector: consuming FaultCollector) {
        guard !collector.isEmpty else { return }
        faults += collector.collected().description.split(separator: "\n").map(String.init)
    }

    private func value(_ name: SettingName) -> SettingValue? {
        if let text = flags[name] { return SettingValue(text: text, origin: "--\(name.rawValue)") }
        if let text = environment[name.environmentName] {
            return SettingValue(text: text, origin: name.environmentName)
        }
        return file[name]
    }

    // MARK: - What they mean

    private mutating func settings() -> Settings? {
        let socketPath = required(.socket, "the path of the socket that gateways call, such as /run/sluice/sluice.sock")
        let policySource = policySource()
        let argumentsChecked = parsed(.argumentsCheckedByGateway, default: false, expected: "true or false") {
            Bool($0)
        }
        let mode = parsed(.socketMode, default: 0o660, expected: "an octal mode such as 0660") { text in
            UInt32(text, radix: 8).flatMap { $0 <= 0o777 ? $0 : nil }
        }
        let operators = parsed(
            .operators, default: [], expected: "user ids with commas between them, such as 1001,1002"
        ) {
            text -> Set<UInt32>? in
            let ids = text.split(separator: ",").map { UInt32($0) }
            return ids.contains(nil) ? nil : Set(ids.compactMap { $0 })
        }
        let budgetMs = parsed(
            .budget, default: 20, expected: "a duration from 1ms to 10s, such as 20ms", Self.milliseconds)
        let keyPrefix = parsed(
            .keyPrefix, default: "sluice", expected: "1 to 64 letters, digits, '.', '_' or '-'", Self.keyPrefix)
        let replicas = parsed(.replicas, default: 1, expected: "a whole number from 1 to 1000") { text in
            Int(text).flatMap { (1...1000).contains($0) ? $0 : nil }
        }
        let logLevel = parsed(
            .logLevel, default: Logger.Level.info,
            expected: Logger.Level.allCases.map(\.rawValue).joined(separatedBy: "or")
        ) { Logger.Level(rawValue: $0) }
        let logFormat = parsed(.logFormat, default: Settings.LogFormat.text, expected: "text or json") {
            Settings.LogFormat(rawValue: $0)
        }
        let password = password()
        guard let socketPath, let policySource, let argumentsChecked, let mode, let operators, let budgetMs,
            let keyPrefix, let replicas, let logLevel, let logFormat
        else { return nil }
        let redis = value(.redis)?.text ?? "none"
        guard let stateFolder = stateFolder(redis: redis) else { return nil }
        return Settings(
            redisURL: redis == "none" ? nil : redis, redisUser: value(.redisUser)?.text, redisPassword: password,
            socketPath: socketPath, socketMode: mode, socketGroup: value(.socketGroup)?.text,
            operatorUserIDs: operators, policySource: policySource, argumentsCheckedByGateway: argumentsChecked,
            budgetMs: budgetMs, keyPrefix: keyPrefix, replicas: replicas,
            stateFolder: stateFolder == "none" ? nil : stateFolder, logLevel: logLevel, logFormat: logFormat)
    }

    /// `none` where nothing is to be kept; nil if it is wrong.
    private mutating func stateFolder(redis: String) -> String? {
        guard let folder = value(.stateFolder), folder.text != "none" else { return "none" }
        if folder.text.isEmpty {
            faults.append("\(folder.origin): found an empty string, expected the path of a folder, or none")
            return nil
        }
        if redis == "none" {
            faults.append(
                "\(folder.origin): found \(folder.text.quoted) without --redis, expected none: it keeps what Redis is "
                    + "still to be told")
            return nil
        }
        return folder.text
    }

    private mutating func policySource() -> PolicySource? {
        switch (value(.policy), value(.policies)) {
        case (let file?, nil): return .file(file.text)
        case (nil, let folder?): return .folder(folder.text)
        case (let file?, let folder?):
            faults.append("\(file.origin), \(folder.origin): found both, expected one document or one folder of them")
        case (nil, nil):
            faults.append(
                "--policy: missing, expected the path of a policy document, such as policy.json (or "
                    + "\(SettingName.policy.environmentName), or a folder of documents as --policies)")
        }
        return nil
    }

    private mutating func required(_ name: SettingName, _ expected: String) -> String? {
        if let value = value(name), !value.text.isEmpty { return value.text }
        faults.append("--\(name.rawValue): missing, expected \(expected) (or \(name.environmentName))")
        return nil
    }

    private mutating func parsed<Value>(
        _ name: SettingName, default fallback: Value, expected: String, _ parse: (String) -> Value?
    ) -> Value? {
        guard let value = value(name) else { return fallback }
        if let parsed = parse(value.text) { return parsed }
        faults.append("\(value.origin): found \(value.text.quoted), expected \(expected)")
        return nil
    }

    private mutating func password() -> String? {
        if let path = value(.redisPasswordFile)?.text {
            do {
                let bytes = try readFile(path)
                // Editors end a file with a line feed, which is no part of the password.
                return String(decoding: bytes, as: UTF8.self).trimmingLineEnds()
            } catch {
                faults.append("\(path): \(error.reason)")
                return nil
            }
        }
        return value(.redisPassword)?.text
    }

    private static func milliseconds(_ text: String) -> Int64? {
        let units: [(String, Int64)] = [("ms", 1), ("s", 1000)]
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }),
            let number = Int64(text.dropLast(unit.count)), (1...10_000).contains(number),
            (1...10_000).contains(number * factor)
        else { return nil }
        return number * factor
    }

    private static func keyPrefix(_ text: String) -> String? {
        let isPlain = text.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        return isPlain && (1...64).contains(text.utf8.count) ? text : nil
    }
}

/// Why a file could not be read, in words that fit behind its path.
package struct FileReadError: Error, Sendable, Equatable {
    package var reason: String

    package init(reason: String) { self.reason = reason }
}

extension String {
    fileprivate func trimmingLineEnds() -> String {
        var text = self[...]
        while let last = text.last, last.isNewline { text.removeLast() }
        return String(text)
    }
}
