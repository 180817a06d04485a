import Logging
import SluicePolicy

/// Makes `Settings` from flags, environment and configuration file. Reports every fault at once.
package struct SettingsResolver {
    /// Reads a whole file; throws a reason that fits after its path.
    package typealias ReadFile = (String) throws(FileReadError) -> TextFile.Contents

    private let flags: [SettingName: String]
    private let environment: [String: String]
    private let readFile: ReadFile
    private var file: [SettingName: SettingValue] = [:]
    private var isFileReadableByAll = false
    private var faults: [String] = []
    private var warnings: [String] = []

    /// - Parameters:
    ///   - flags: those of the command line.
    ///   - configurationPath: a JSON object whose keys are the flags' names.
    package static func resolve(
        flags: [SettingName: String], environment: [String: String], configurationPath: String?,
        readFile: @escaping ReadFile
    ) throws(SettingFaults) -> Settings {
        var resolver = SettingsResolver(flags: flags, environment: environment, readFile: readFile)
        let paths = [("--config", configurationPath), ("SLUICE_CONFIG", environment["SLUICE_CONFIG"])]
        if let path = resolver.firstNotEmpty(paths)?.text { resolver.read(path) }
        let settings = resolver.settings()
        guard var settings, resolver.faults.isEmpty else { throw SettingFaults(resolver.faults) }
        settings.warnings = resolver.warnings
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
            let contents = try readFile(path)
            bytes = contents.bytes
            isFileReadableByAll = contents.isReadableByAll
        } catch {
            faults.append("\(path): \(error.reason)")
            return
        }
        var collector = FaultCollector(file: path)
        guard let document = JSONParser.parse(bytes, faults: &collector) else {
            faults += collector.collected().faults.map { Self.withoutWords($0).description }
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
                    reader.unexpected(
                        name.holdsSecret ? "something else" : node.value.summary, at: node, expected: expected)
                }
            }
            reader.finish(object, KnownKeys(SettingName.allCases.map(\.rawValue)))
        }
        note(reader.faults)
    }

    /// A fault of a text that is not JSON, without its quotes: where a quotation mark is missing they may hold a
    /// password.
    private static func withoutWords(_ fault: PolicyFault) -> PolicyFault {
        guard case .unexpected(let found, let expected, _) = fault.problem,
            found.first == "'" && found.count > 3 || found.contains(where: \.isNumber)
        else { return fault }
        return PolicyFault(
            file: fault.file, pointer: fault.pointer, position: fault.position,
            problem: .unexpected(found: "something else", expected: expected, nearest: nil))
    }

    private mutating func note(_ collector: consuming FaultCollector) {
        guard !collector.isEmpty else { return }
        faults += collector.collected().description.split(separator: "\n").map(String.init)
    }

    /// Called once for each setting: it records empty values.
    private mutating func value(_ name: SettingName) -> SettingValue? {
        let filed = file[name]
        return firstNotEmpty([
            ("--\(name.rawValue)", flags[name]), (name.environmentName, environment[name.environmentName]),
            (filed?.origin ?? "", filed?.text),
        ])
    }

    /// An empty value counts as not set: templates leave variables empty that have no value.
    private mutating func firstNotEmpty(_ values: [(origin: String, text: String?)]) -> SettingValue? {
        for (origin, text) in values {
            guard let text else { continue }
            if !text.isEmpty { return SettingValue(text: text, origin: origin) }
            warnings.append("\(origin): is empty, which is taken as not set")
        }
        return nil
    }

    /// Warns if other users can read a secret at its origin.
    private mutating func warnOfReaders(of value: SettingValue) {
        let advice =
            "give Redis' password by SLUICE_REDIS_PASSWORD, or by --redis-password-file with a file of mode 0600"
        if value.origin == "--redis" {
            warnings.append(
                "\(value.origin): holds a password, and everybody who lists processes can read it: \(advice)")
        } else if isFileReadableByAll, [file[.redis], file[.redisPassword]].contains(value) {
            warnings.append("\(value.origin): holds a password, and everybody on this machine can read it: \(advice)")
        }
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
        let memoryBytes = parsed(
            .memory, default: ServerBounds.defaultMemoryBytes, expected: "a size from 16MiB to 1TiB, such as 512MiB",
            Self.bytes)
        let answersThrottle = parsed(.clThrottle, default: false, expected: "true or false") { Bool($0) }
        let logLevel = parsed(
            .logLevel, default: Logger.Level.info,
            expected: Logger.Level.allCases.map(\.rawValue).joined(separatedBy: "or")
        ) { Logger.Level(rawValue: $0) }
        let logFormat = parsed(.logFormat, default: Settings.LogFormat.text, expected: "text or json") {
            Settings.LogFormat(rawValue: $0)
        }
        let password = password()
        guard let socketPath, let policySource, let argumentsChecked, let mode, let operators, let budgetMs,
            let keyPrefix, let replicas, let memoryBytes, let answersThrottle, let logLevel, let logFormat
        else { return nil }
        let address = value(.redis)
        if let address, address.text.contains("@"), !address.text.lowercased().hasPrefix("unix:") {
            warnOfReaders(of: address)
        }
        let redis = address?.text ?? "none"
        guard let stateFolder = stateFolder(redis: redis) else { return nil }
        return Settings(
            redisURL: redis == "none" ? nil : redis, redisUser: value(.redisUser)?.text, redisPassword: password,
            socketPath: socketPath, socketMode: mode, socketGroup: value(.socketGroup)?.text,
            operatorUserIDs: operators, policySource: policySource, argumentsCheckedByGateway: argumentsChecked,
            budgetMs: budgetMs, keyPrefix: keyPrefix, replicas: replicas,
            stateFolder: stateFolder == "none" ? nil : stateFolder, memoryBytes: memoryBytes,
            answersThrottle: answersThrottle, logLevel: logLevel, logFormat: logFormat)
    }

    /// `none` if nothing is kept; nil if it is invalid.
    private mutating func stateFolder(redis: String) -> String? {
        guard let folder = value(.stateFolder), folder.text != "none" else { return "none" }
        if redis == "none" {
            faults.append(
                "\(folder.origin): found \(folder.text.quoted) without --redis, expected none: it keeps what is "
                    + "still to be written to Redis")
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
        if let value = value(name) { return value.text }
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
        let direct = value(.redisPassword)
        if let path = value(.redisPasswordFile)?.text {
            do {
                let contents = try readFile(path)
                // Editors end a file with a line feed, which is not part of the password.
                let password = String(decoding: contents.bytes, as: UTF8.self).trimmingLineEnds()
                if !password.isEmpty && contents.isReadableByAll {
                    warnings.append("\(path): holds a password, and everybody on this machine can read it: chmod o-r")
                }
                if let password = firstNotEmpty([(path, password)]) { return password.text }
            } catch {
                faults.append("\(path): \(error.reason)")
                return nil
            }
        }
        guard let direct else { return nil }
        warnOfReaders(of: direct)
        return direct.text
    }

    private static func milliseconds(_ text: String) -> Int64? {
        let units: [(String, Int64)] = [("ms", 1), ("s", 1000)]
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }),
            let number = Int64(text.dropLast(unit.count)), (1...10_000).contains(number),
            (1...10_000).contains(number * factor)
        else { return nil }
        return number * factor
    }

    private static func bytes(_ text: String) -> Int? {
        let units: [(String, Int)] = [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)]
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }),
            let number = Int(text.dropLast(unit.count)), (1...ServerBounds.maxMemoryBytes / factor).contains(number),
            number * factor >= ServerBounds.minMemoryBytes
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

/// Why a file could not be read, in words that fit after its path.
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
