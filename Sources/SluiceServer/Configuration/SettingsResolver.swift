import Logging
import SluicePolicy

/// Makes `Settings` from flags, environment and configuration file. Reports every fault at once.
package struct SettingsResolver {
    /// Reads a whole file.
    package typealias ReadFile = (String) throws(FileReadError) -> TextFile.Contents

    private let table = Settings.table
    private let flags: [String: String]
    private let environment: [String: String]
    private let readFile: ReadFile
    private var file: [String: SettingValue] = [:]
    /// What is set, wherever it comes from.
    private var values: [String: SettingValue] = [:]
    private var isFileReadableByAll = false
    private var faults: [String] = []
    private var warnings: [String] = []

    /// - Parameters:
    ///   - flags: those of the command line, by the settings' names.
    ///   - configurationPath: a JSON object whose keys are the flags' names.
    package static func resolve(
        flags: [String: String], environment: [String: String], configurationPath: String?,
        readFile: @escaping ReadFile
    ) throws(SettingFaults) -> Settings {
        var resolver = SettingsResolver(flags: flags, environment: environment, readFile: readFile)
        let paths = [("--config", configurationPath), ("SLUICE_CONFIG", environment["SLUICE_CONFIG"])]
        if let path = resolver.firstNotEmpty(paths)?.text { resolver.read(path) }
        let settings = resolver.settings()
        resolver.warnOfUnknownVariables()
        guard var settings, resolver.faults.isEmpty else { throw SettingFaults(resolver.faults) }
        settings.warnings = resolver.warnings
        settings.origins = resolver.values.mapValues(\.origin)
        return settings
    }

    private init(flags: [String: String], environment: [String: String], readFile: @escaping ReadFile) {
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
            faults.append("\(error)")
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
            for setting in table.rows {
                guard let node = object.take(setting.name) else { continue }
                let origin = "\(path):\(node.value.position.line):\(node.value.position.column): \(node.pointer.text)"
                switch node.value.content {
                case .string(let text): file[setting.name] = SettingValue(text: text, origin: origin)
                case .integer(let number): file[setting.name] = SettingValue(text: String(number), origin: origin)
                case .bool(let isOn) where setting.isSwitch:
                    file[setting.name] = SettingValue(text: String(isOn), origin: origin)
                default:
                    let expected = setting.isSwitch ? "true or false" : "a string or a whole number"
                    reader.unexpected(
                        setting.holdsSecret ? "something else" : node.value.summary, at: node, expected: expected)
                }
            }
            reader.finish(object, KnownKeys(table.rows.map(\.name)))
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
    private mutating func value(_ setting: any SettingRow) -> SettingValue? {
        let filed = file[setting.name]
        return firstNotEmpty([
            ("--\(setting.name)", flags[setting.name]),
            (setting.environmentName, environment[setting.environmentName]), (filed?.origin ?? "", filed?.text),
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

    /// A misspelt variable would otherwise be no setting, silently.
    private mutating func warnOfUnknownVariables() {
        let prefix = SettingTable.environmentPrefix
        let known = table.rows.map(\.environmentName) + ["\(prefix)CONFIG"]
        let unknown = environment.keys.filter {
            $0.hasPrefix(prefix) && !known.contains($0) && !OtherVariables.contains($0)
        }
        for name in unknown.sorted().prefix(Self.maxNamedVariables) {
            let nearest = NearestName.find(
                String(name.dropFirst(prefix.count)), among: known.map { String($0.dropFirst(prefix.count)) }
            ).map { "; did you mean \(prefix)\($0)?" }
            warnings.append("\(name.onOneLine): is no setting, and has no effect\(nearest ?? "")")
        }
        guard unknown.count > Self.maxNamedVariables else { return }
        warnings.append(
            "\(unknown.count - Self.maxNamedVariables) more variables that begin with \(prefix) are no settings")
    }

    /// Most unknown variables that are named.
    private static let maxNamedVariables = 10

    /// Warns if other users can read a secret at its origin.
    private mutating func warnOfReaders(of value: SettingValue) {
        let isSentinels = value == file[table.sentinelPassword.name]
        let (whose, direct, inFile) =
            isSentinels
            ? ("the sentinels'", table.sentinelPassword, table.sentinelPasswordFile)
            : ("Redis'", table.redisPassword, table.redisPasswordFile)
        let advice =
            "give \(whose) password by \(direct.environmentName), or by --\(inFile.name) with a file of mode 0600"
        if value.origin == "--redis" {
            warnings.append(
                "\(value.origin): holds a password, and everybody who lists processes can read it: \(advice)")
        } else if isFileReadableByAll,
            [file[table.redisURL.name], file[table.redisPassword.name], file[table.sentinelPassword.name]]
                .contains(value)
        {
            warnings.append("\(value.origin): holds a password, and everybody on this machine can read it: \(advice)")
        }
    }

    // MARK: - What they mean

    private mutating func settings() -> Settings? {
        for setting in table.rows {
            values[setting.name] = value(setting)
            if let value = values[setting.name] {
                guard !setting.accepts(value.text) else { continue }
                faults.append("\(value.origin): found \(value.text.quoted), expected \(setting.expected)")
            } else if setting.isRequired {
                faults.append(
                    "--\(setting.name): missing, expected \(setting.expected) (or \(setting.environmentName))")
            }
        }
        let policySource = policySource()
        let redisPassword = secret(table.redisPassword, inFile: table.redisPasswordFile)
        let sentinelPassword = secret(table.sentinelPassword, inFile: table.sentinelPasswordFile)
        let faultsBefore = faults.count
        let logKey = secret(table.decisionLogKey, inFile: table.decisionLogKeyFile, kind: "a key")
        // One that cannot be read is a fault already.
        if faults.count == faultsBefore { checkDecisionLog(key: logKey) }
        checkAddress()
        checkTakeover()
        checkTLS()
        checkDoors()
        var texts = values.mapValues(\.text)
        texts[table.redisPassword.name] = redisPassword
        texts[table.sentinelPassword.name] = sentinelPassword
        texts[table.decisionLogKey.name] = logKey
        return policySource.map { Settings(texts: texts, policySource: $0) }
    }

    private mutating func policySource() -> PolicySource? {
        switch (values[table.policyFile.name], values[table.policyFolder.name]) {
        case (let file?, nil): return .file(file.text)
        case (nil, let folder?): return .folder(folder.text)
        case (let file?, let folder?):
            faults.append("\(file.origin), \(folder.origin): found both, expected one document or one folder of them")
        case (nil, nil):
            faults.append(
                "--policy: missing, expected the path of a policy document, such as policy.json (or "
                    + "\(table.policyFile.environmentName), or a folder of documents as --policies)")
        }
        return nil
    }

    /// - Parameter kind: what it is, in words.
    private mutating func secret(
        _ setting: Setting<String?>, inFile fileSetting: Setting<String?>, kind: String = "a password"
    ) -> String? {
        let direct = values[setting.name]
        if let path = values[fileSetting.name]?.text {
            do {
                let contents = try readFile(path)
                let password = String(decoding: contents.bytes, as: UTF8.self).withoutFinalLineEnds()
                if !password.isEmpty && contents.isReadableByAll {
                    warnings.append("\(path): holds \(kind), and everybody on this machine can read it: chmod o-r")
                }
                if let password = firstNotEmpty([(path, password)]) { return password.text }
            } catch {
                faults.append("\(error)")
                return nil
            }
        }
        guard let direct else { return nil }
        if setting.name == table.decisionLogKey.name {
            if isFileReadableByAll, direct == file[setting.name] {
                warnings.append(
                    "\(direct.origin): holds \(kind), and everybody on this machine can read it: give it by "
                        + "\(setting.environmentName), or by --\(fileSetting.name) with a file of mode 0600")
            }
        } else {
            warnOfReaders(of: direct)
        }
        return direct.text
    }

    /// The files of TLS are read at each connect; those that are missing at the start are reported then.
    private mutating func checkTLS() {
        let address = values[table.redisURL.name]?.text.lowercased() ?? ""
        let certificate = values[table.redisCertificate.name]
        let key = values[table.redisKey.name]
        let files = [values[table.redisAuthorities.name], certificate, key].compactMap(\.self)
        for value in files + [values[table.redisServerName.name]].compactMap(\.self) where !address.hasPrefix("rediss")
        {
            faults.append(
                "\(value.origin): found \(value.text.quoted) without TLS, expected --redis to begin with rediss:// or "
                    + "rediss+sentinel://")
        }
        for setting in [table.sentinelUser, table.sentinelPassword, table.sentinelPasswordFile]
        where !address.contains("+sentinel://") {
            guard let value = values[setting.name] else { continue }
            faults.append(
                "\(value.origin): is set without sentinels, expected --redis to begin with redis+sentinel:// or "
                    + "rediss+sentinel://")
        }
        if let one = certificate ?? key, (certificate == nil) != (key == nil) {
            faults.append("\(one.origin): found alone, expected --redis-certificate and --redis-key together")
        }
        for value in files {
            do {
                let isReadableByAll = try readFile(value.text).isReadableByAll
                guard isReadableByAll && value == key else { continue }
                warnings.append("\(value.text): holds a key, and everybody on this machine can read it: chmod o-r")
            } catch {
                faults.append("\(value.origin): \(error)")
            }
        }
    }

    /// What depends on Redis' address.
    private mutating func checkAddress() {
        let address = values[table.redisURL.name]
        if let address, address.text.contains("@"), !address.text.lowercased().hasPrefix("unix:") {
            warnOfReaders(of: address)
        }
        guard table.redisURL.value(address?.text) == nil else { return }
        if address == nil {
            warnings.append(
                "--redis: is not set, so counting is local, as for one replica: name the Redis that all replicas share, or "
                    + "none (or \(table.redisURL.environmentName))")
        }
        if let required = values[table.requiresRedis.name], table.requiresRedis.value(required.text) {
            faults.append(
                "\(required.origin): found true without --redis, expected the address of a Redis, such as "
                    + "--redis redis://127.0.0.1 (or \(table.redisURL.environmentName))")
        }
        guard let folder = values[table.stateFolder.name], folder.text != "none" else { return }
        faults.append(
            "\(folder.origin): found \(folder.text.quoted) without --redis, expected none: it keeps what is still to be "
                + "written to Redis")
    }

    /// Hashes need a key that cannot be guessed.
    private mutating func checkDecisionLog(key: String?) {
        let setting = values[table.decisionLogGrants.name]
        let given = values[table.decisionLogKeyFile.name] ?? values[table.decisionLogKey.name]
        let example = "such as from: openssl rand -hex 32"
        switch (table.decisionLogGrants.value(setting?.text), key) {
        case (.plain, _):
            if let given { warnings.append("\(given.origin): has no effect without --decision-log-grants hash") }
        case (.hash, nil):
            faults.append(
                "\(setting?.origin ?? ""): found hash without a key, expected --\(table.decisionLogKeyFile.name) (or "
                    + "\(table.decisionLogKey.environmentName)) with one of at least \(IdentityKey.minBytes) bytes, \(example)"
            )
        case (.hash, let key?):
            if key.utf8.count < IdentityKey.minBytes {
                faults.append(
                    "\(given?.origin ?? ""): found a key of \(key.utf8.count) bytes, expected at least "
                        + "\(IdentityKey.minBytes), \(example)")
            }
            if table.decisionLog.value(values[table.decisionLog.name]?.text) == nil {
                faults.append("\(setting?.origin ?? ""): is set without --decision-log, expected a file to write to")
            }
        }
    }

    /// A folder belongs to one process until that has ended, which is too late to take over from it.
    private mutating func checkTakeover() {
        guard let takesOver = values[table.takesOver.name], table.takesOver.value(takesOver.text),
            let folder = values[table.stateFolder.name], folder.text != "none"
        else { return }
        faults.append(
            "\(takesOver.origin): found true with --state-dir, expected one of them: the sluiced that runs keeps its folder "
                + "until it has ended (a socket unit of systemd keeps callers waiting meanwhile)")
    }

    /// Every door has a socket of its own, and those that other machines can reach must be asked for.
    private mutating func checkDoors() {
        var names: [String: String] = [:]
        for name in [table.socketPath.name, table.httpSocketPath.name, table.grpcSocketPath.name] {
            guard let path = values[name] else { continue }
            if let other = names.updateValue(name, forKey: path.text) {
                faults.append(
                    "\(path.origin): found \(path.text.quoted), which is --\(other), expected a path of its own")
            }
        }
        guard !table.allowsRemote.value(values[table.allowsRemote.name]?.text) else { return }
        for (name, value) in [
            (table.httpAddress.name, table.httpAddress.value), (table.grpcAddress.name, table.grpcAddress.value),
        ] {
            guard let listen = values[name], let address = value(listen.text), !address.isLoopback else { continue }
            faults.append(
                "\(listen.origin): found \(listen.text.quoted), which other machines may reach, expected an address of "
                    + "loopback such as 127.0.0.1:\(address.port), or --allow-remote")
        }
    }
}
