import Foundation
import Logging
import SluicePolicy
import Testing

@testable import SluiceServer

@Suite struct SettingsResolverTests {
    /// The environment's variables, by the settings' names.
    private static let variables = Dictionary(
        uniqueKeysWithValues: Settings.table.rows.map { ($0.name, $0.environmentName) })
    private static let required: [String: String] = ["socket": "/s", "policy": "/p", "redis": "none"]

    private func resolve(
        _ flags: [String: String] = required, environment: [String: String] = [:], path: String? = nil,
        files: [String: String] = [:], readableByAll: Set<String> = []
    ) throws(SettingFaults) -> Settings {
        try SettingsResolver.resolve(flags: flags, environment: environment, configurationPath: path) {
            path throws(FileReadError) in
            guard let text = files[path] else {
                throw FileReadError(path: path, reason: "cannot be opened: it is not there")
            }
            return TextFile.Contents(bytes: Array(text.utf8), isReadableByAll: readableByAll.contains(path))
        }
    }

    /// Without where it comes from.
    private func meaning(_ settings: Settings) -> Settings {
        var settings = settings
        (settings.warnings, settings.origins) = ([], [:])
        return settings
    }

    /// What is said of settings that are wrong.
    private func faults(
        _ flags: [String: String] = required, environment: [String: String] = [:], path: String? = nil,
        files: [String: String] = [:]
    ) -> [String] {
        do {
            _ = try resolve(flags, environment: environment, path: path, files: files)
            return []
        } catch {
            return error.lines
        }
    }

    @Test func whatIsNotSetHasADefault() throws {
        let settings = try resolve()
        #expect(settings.redisURL == nil && settings.redisUser == nil && settings.redisPassword == nil)
        #expect(settings.socketPath == "/s" && settings.socketMode == 0o660 && settings.socketGroup == nil)
        #expect(settings.operatorUserIDs == [] && settings.policySource == .file("/p"))
        #expect(!settings.requiresRedis)
        #expect(settings.httpSocketPath == nil && settings.httpAddress == nil && !settings.allowsRemote)
        #expect(!settings.argumentsCheckedByGateway && !settings.answersThrottle && settings.stateFolder == nil)
        #expect(settings.budgetMs == 20 && settings.keyPrefix == "sluice" && settings.replicas == 1)
        #expect(settings.memoryBytes == 536_870_912 && settings.logLevel == .info && settings.logFormat == .text)
        #expect(settings.warnings == [])
    }

    @Test func policiesComeFromAFileOrAFolder() throws {
        #expect(try resolve(["socket": "/s", "policies": "/d"]).policySource == .folder("/d"))
        #expect(
            faults(["socket": "/s", "policy": "/f"], environment: ["SLUICE_POLICIES": "/d"])
                == ["--policy, SLUICE_POLICIES: found both, expected one document or one folder of them"])
    }

    @Test func everythingCanBeSetInEveryWay() throws {
        let values: [String: String] = [
            "socket": "/a", "socket-mode": "0600", "socket-group": "www", "operators": "1,2", "policy": "/b",
            "arguments-checked-by-gateway": "true", "redis": "redis://h", "redis-user": "u", "redis-password": "secret",
            "require-redis": "true", "budget": "2s", "key-prefix": "k-1",
            "replicas": "7", "state-dir": "/d", "memory": "2GiB", "cl-throttle": "true", "log-level": "debug",
            "log-format": "json", "http-socket": "/h", "http-listen": "0.0.0.0:9464", "allow-remote": "true",
        ]
        let settings = try resolve(values)
        #expect(settings.httpSocketPath == "/h" && settings.httpAddress?.port == 9464 && settings.allowsRemote)
        #expect(settings.redisURL == "redis://h" && settings.redisUser == "u" && settings.redisPassword == "secret")
        #expect(settings.socketPath == "/a" && settings.socketMode == 0o600 && settings.socketGroup == "www")
        #expect(settings.requiresRedis)
        #expect(settings.operatorUserIDs == [1, 2] && settings.policySource == .file("/b"))
        #expect(settings.argumentsCheckedByGateway && settings.answersThrottle && settings.stateFolder == "/d")
        #expect(settings.budgetMs == 2_000 && settings.keyPrefix == "k-1" && settings.replicas == 7)
        #expect(settings.memoryBytes == 2_147_483_648 && settings.logLevel == .debug && settings.logFormat == .json)
        let environment = Dictionary(uniqueKeysWithValues: values.map { (Self.variables[$0.key] ?? "", $0.value) })
        #expect(environment["SLUICE_SOCKET_MODE"] == "0600")
        #expect(try meaning(resolve([:], environment: environment)) == meaning(settings))
        let file = "{" + values.map { "\"\($0.key)\": \"\($0.value)\"" }.joined(separator: ", ") + "}"
        #expect(try meaning(resolve([:], path: "c.json", files: ["c.json": file])) == meaning(settings))
        #expect(
            try meaning(resolve([:], environment: ["SLUICE_CONFIG": "c.json"], files: ["c.json": file]))
                == meaning(settings))
    }

    @Test func memoryIsASize() throws {
        let memory = { (text: String) in Self.required.merging(["memory": text]) { $1 } }
        #expect(try resolve(memory("16MiB")).memoryBytes == ServerBounds.minMemoryBytes)
        #expect(try resolve(memory("1TiB")).memoryBytes == ServerBounds.maxMemoryBytes)
        for wrong in ["0MiB", "15MiB", "2TiB", "-1GiB", "512", "512MB", "1e3MiB", "99999999999999999999MiB"] {
            #expect(
                faults(memory(wrong))
                    == ["--memory: found \"\(wrong)\", expected a size from 16MiB to 1TiB, such as 512MiB"])
        }
    }

    @Test func everyDoorHasASocketOfItsOwn() {
        let settings = Self.required.merging(["http-socket": "/a.sock", "grpc-socket": "/a.sock"]) { $1 }
        #expect(
            faults(settings) == [
                "--grpc-socket: found \"/a.sock\", which is --http-socket, expected a path of its own"
            ])
        let taken = Self.required.merging(["socket": "/b.sock", "http-socket": "/b.sock"]) { $1 }
        #expect(
            faults(taken) == ["--http-socket: found \"/b.sock\", which is --socket, expected a path of its own"])
    }

    @Test func doorsForOtherMachinesMustBeAskedFor() throws {
        for address in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
            #expect(try resolve(Self.required.merging(["http-listen": address]) { $1 }).httpAddress?.isLoopback == true)
        }
        for address in ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464", "sidecar:9464"] {
            let settings = Self.required.merging(["http-listen": address]) { $1 }
            #expect(
                faults(settings) == [
                    "--http-listen: found \"\(address)\", which other machines may reach, expected an address of loopback "
                        + "such as 127.0.0.1:9464, or --allow-remote"
                ])
            let allowed = settings.merging(["allow-remote": "true"]) { $1 }
            #expect(try resolve(allowed).httpAddress?.description == address)
        }
    }

    @Test func hashesOfTheDecisionLogNeedAKey() throws {
        let hash = Self.required.merging(["decision-log": "/l", "decision-log-grants": "hash"]) { $1 }
        let key = String(repeating: "k", count: 16)
        let settings = try resolve(hash, environment: ["SLUICE_DECISION_LOG_KEY": key])
        #expect(settings.decisionLogGrants == .hash && settings.decisionLogKey == key && settings.warnings == [])
        let inFile = hash.merging(["decision-log-key-file": "k"]) { $1 }
        #expect(try resolve(inFile, files: ["k": key + "\n"]).decisionLogKey == key)
        #expect(
            try resolve(inFile, files: ["k": key], readableByAll: ["k"]).warnings == [
                "k: holds a key, and everybody on this machine can read it: chmod o-r"
            ])
        #expect(
            faults(hash) == [
                "--decision-log-grants: found hash without a key, expected --decision-log-key-file (or "
                    + "SLUICE_DECISION_LOG_KEY) with one of at least 16 bytes, such as from: openssl rand -hex 32"
            ])
        #expect(
            faults(hash, environment: ["SLUICE_DECISION_LOG_KEY": "short"]) == [
                "SLUICE_DECISION_LOG_KEY: found a key of 5 bytes, expected at least 16, such as from: openssl rand -hex 32"
            ])
        #expect(faults(inFile) == ["k: cannot be opened: it is not there"])
        #expect(
            faults(hash.merging(["decision-log": "none"]) { $1 }, environment: ["SLUICE_DECISION_LOG_KEY": key]) == [
                "--decision-log-grants: is set without --decision-log, expected a file to write to"
            ])
        #expect(
            try resolve(environment: ["SLUICE_DECISION_LOG_KEY": key]).warnings == [
                "SLUICE_DECISION_LOG_KEY: has no effect without --decision-log-grants hash"
            ])
    }

    @Test func aStateFolderCannotBeTakenOver() throws {
        let settings = ["redis": "redis://h", "take-over": "true", "state-dir": "/d"]
        #expect(
            faults(Self.required.merging(settings) { $1 }) == [
                "--take-over: found true with --state-dir, expected one of them: the sluiced that runs keeps its folder until "
                    + "it has ended (a socket unit of systemd keeps callers waiting meanwhile)"
            ])
        for other in [["take-over": "false"], ["state-dir": "none"]] {
            _ = try resolve(Self.required.merging(settings) { $1 }.merging(other) { $1 })
        }
    }

    /// Without Redis nothing is ever settled.
    @Test func aStateFolderIsForRedis() throws {
        let redis = Self.required.merging(["redis": "redis://h"]) { $1 }
        #expect(try resolve(redis).stateFolder == nil)
        #expect(try resolve(redis.merging(["state-dir": "none"]) { $1 }).stateFolder == nil)
        #expect(try resolve(Self.required.merging(["state-dir": "none"]) { $1 }).stateFolder == nil)
        #expect(
            faults(Self.required, environment: ["SLUICE_STATE_DIR": "/d"]) == [
                "SLUICE_STATE_DIR: found \"/d\" without --redis, expected none: it keeps what is still to be written to Redis"
            ])
    }

    @Test func onlyARedisThatIsNamedCanBeRequired() throws {
        let required = Self.required.merging(["require-redis": "true"]) { $1 }
        #expect(try resolve(required.merging(["redis": "redis://h"]) { $1 }).requiresRedis)
        #expect(try !resolve(Self.required.merging(["require-redis": "false"]) { $1 }).requiresRedis)
        for redis in [[:], ["redis": "none"]] {
            #expect(
                faults(required.merging(redis) { $1 }) == [
                    "--require-redis: found true without --redis, expected the address of a Redis, such as --redis "
                        + "redis://127.0.0.1 (or SLUICE_REDIS)"
                ])
        }
    }

    @Test func aSwitchMayBeABooleanInTheFile() throws {
        let settings = { (value: String) in
            try resolve(path: "c", files: ["c": "{\"arguments-checked-by-gateway\": \(value)}"])
        }
        #expect(try settings("true").argumentsCheckedByGateway)
        #expect(try !settings("false").argumentsCheckedByGateway)
        #expect(try resolve(path: "c", files: ["c": ##"{"cl-throttle": true}"##]).answersThrottle)
        #expect(
            faults(path: "c", files: ["c": #"{"arguments-checked-by-gateway": []}"#]) == [
                "c:1:34: /arguments-checked-by-gateway: found an empty array, expected true or false"
            ])
        #expect(try settings("true").policyFeatures.contains(.argumentsCheckedByGateway))
        #expect(try resolve().policyFeatures == .supported)
    }

    @Test func flagsGoOverTheEnvironmentAndThatOverTheFile() throws {
        let files = ["c.json": #"{"replicas": 3, "budget": "3ms", "key-prefix": "c"}"#]
        var flags = Self.required
        flags["key-prefix"] = "a"
        let settings = try resolve(
            flags, environment: ["SLUICE_BUDGET": "2ms", "SLUICE_KEY_PREFIX": "b"], path: "c.json", files: files)
        #expect(settings.keyPrefix == "a" && settings.budgetMs == 2 && settings.replicas == 3)
        // A flag goes over a wrong value elsewhere; that is not even looked at.
        #expect(try resolve(flags, environment: ["SLUICE_KEY_PREFIX": "no good"]).keyPrefix == "a")
    }

    /// An empty value of any setting and origin counts as not set, and a line reports it.
    @Test(arguments: Settings.table.rows.map(\.name))
    func whatIsEmptyIsNotSet(name: String) throws {
        let variable = try #require(Self.variables[name])
        let required = Self.required.filter { $0.key != name }
        guard name != "socket", name != "policy" else {
            #expect(faults(Self.required.merging([name: ""]) { $1 }) == faults(required))
            #expect(faults(required, environment: [variable: ""]) == faults(required))
            return
        }
        let flagged = try resolve(required.merging([name: ""]) { $1 })
        let named = try resolve(required, environment: [variable: ""])
        let filed = try resolve(required, path: "c", files: ["c": "{\"\(name)\": \"\"}"])
        for (settings, origin) in [
            (flagged, "--\(name)"), (named, variable),
            (filed, "c:1:\(name.count + 6): /\(name)"),
        ] {
            let others = name == "redis" ? [Self.noRedis] : []
            #expect(settings.warnings == ["\(origin): is empty, which is taken as not set"] + others)
            #expect(try meaning(settings).texts == resolve().texts.filter { $0.key != name })
        }
    }

    private static let noRedis =
        "--redis: is not set, so counting is local, as for one replica: name the Redis that all replicas share, or none "
        + "(or SLUICE_REDIS)"

    @Test func aRedisThatIsNotNamedIsWarnedAbout() throws {
        let required = Self.required.filter { $0.key != "redis" }
        #expect(try resolve(required).warnings == [Self.noRedis])
        for redis in ["none", "redis://h"] {
            #expect(try resolve(required, environment: ["SLUICE_REDIS": redis]).warnings == [])
        }
    }

    @Test func unknownVariablesAreWarnedAbout() throws {
        #expect(
            try resolve(environment: ["SLUICE_SOKCET": "/x", "SLUICE_": "", "SLUICE_NO_SUCH_THING": "", "sluice_x": ""])
                .warnings == [
                    "SLUICE_: is no setting, and has no effect",
                    "SLUICE_NO_SUCH_THING: is no setting, and has no effect",
                    "SLUICE_SOKCET: is no setting, and has no effect; did you mean SLUICE_SOCKET?",
                ])
        let many = Dictionary(uniqueKeysWithValues: (10..<25).map { ("SLUICE_ZZZZZZ_\($0)", "1") })
        let warnings = try resolve(environment: many).warnings
        #expect(warnings.count == 11)
        #expect(warnings.last == "5 more variables that begin with SLUICE_ are no settings")
    }

    /// Kubernetes sets them beside a service of that name, and tests and scripts theirs.
    @Test(arguments: [
        "SLUICE_SERVICE_HOST", "SLUICE_SERVICE_PORT", "SLUICE_SERVICE_PORT_HTTP", "SLUICE_PORT", "SLUICE_PORT_80_TCP",
        "SLUICE_REDIS_PORT_6379_TCP_ADDR", "SLUICE_REDIS_PORT_6379_TCP_PROTO", "SLUICE_DNS_PORT_53_UDP_PORT",
        "SLUICE_REDIS_SERVICE_HOST", "SLUICE_TEST_SLUICED", "SLUICE_BIN", "SLUICE_CONFIG",
    ])
    func variablesOfOthersAreNotWarnedAbout(name: String) throws {
        #expect(
            try resolve(environment: [name: name == "SLUICE_CONFIG" ? "c" : "1"], files: ["c": "{}"]).warnings == [])
    }

    @Test func settingsKnowWhereTheyComeFrom() throws {
        let settings = try resolve(
            Self.required, environment: ["SLUICE_BUDGET": "5ms"], path: "c", files: ["c": ##"{"replicas": 2}"##])
        #expect(
            settings.origins == [
                "socket": "--socket", "policy": "--policy", "redis": "--redis", "budget": "SLUICE_BUDGET",
                "replicas": "c:1:14: /replicas",
            ])
    }

    /// The next place that says something counts, and an empty name of a file is no file.
    @Test func behindWhatIsEmptyOthersAreLookedAt() throws {
        var flags = Self.required
        flags["budget"] = ""
        let settings = try resolve(
            flags, environment: ["SLUICE_BUDGET": "7ms", "SLUICE_CONFIG": "", "SLUICE_REDIS_PASSWORD_FILE": ""])
        #expect(settings.budgetMs == 7)
        #expect(
            settings.warnings.sorted() == [
                "--budget: is empty, which is taken as not set", "SLUICE_CONFIG: is empty, which is taken as not set",
                "SLUICE_REDIS_PASSWORD_FILE: is empty, which is taken as not set",
            ])
        #expect(try resolve(path: "", files: ["": "{"]).warnings == ["--config: is empty, which is taken as not set"])
    }

    @Test func aSecretThatOthersCanReadIsWarnedAbout() throws {
        let advice =
            "give Redis' password by SLUICE_REDIS_PASSWORD, or by --redis-password-file with a file of mode 0600"
        var flags = Self.required
        flags["redis"] = "redis://:secret@h"
        #expect(
            try resolve(flags).warnings == [
                "--redis: holds a password, and everybody who lists processes can read it: \(advice)"
            ])
        for address in ["redis://h", "unix:///a@b"] {
            flags["redis"] = address
            #expect(try resolve(flags).warnings == [])
        }
        flags["redis"] = nil
        #expect(try resolve(flags, environment: ["SLUICE_REDIS": "redis://:secret@h"]).warnings == [])
        for (text, key) in [
            (#"{"redis": "redis://:secret@h"}"#, "11: /redis"),
            (#"{"redis-password": "s", "redis": "none"}"#, "20: /redis-password"),
        ] {
            #expect(try resolve(flags, path: "c", files: ["c": text]).warnings == [])
            #expect(
                try resolve(flags, path: "c", files: ["c": text], readableByAll: ["c"]).warnings == [
                    "c:1:\(key): holds a password, and everybody on this machine can read it: \(advice)"
                ])
        }
        flags["redis"] = "none"
        flags["redis-password-file"] = "pw"
        #expect(try resolve(flags, files: ["pw": "s"]).warnings == [])
        #expect(
            try resolve(flags, files: ["pw": "s"], readableByAll: ["pw"]).warnings == [
                "pw: holds a password, and everybody on this machine can read it: chmod o-r"
            ])
    }

    @Test func noneIsNoRedis() throws {
        #expect(try resolve(["socket": "/s", "policy": "/p", "redis": "none"]).redisURL == nil)
    }

    @Test func thePasswordsFileGoesOverThePasswordAndLosesItsLineEnd() throws {
        var flags = Self.required
        flags["redis-password-file"] = "pw"
        for (text, password) in [("a b\n", "a b"), ("x\r\n\n", "x"), ("plain", "plain"), ("", "other")] {
            let settings = try resolve(flags, environment: ["SLUICE_REDIS_PASSWORD": "other"], files: ["pw": text])
            #expect(settings.redisPassword == password)
        }
        #expect(faults(flags) == ["pw: cannot be opened: it is not there"])
    }

    /// Every message, word for word: people search for them.
    @Test(
        arguments: [
            ("socket-mode", "999", "an octal mode such as 0660"),
            ("socket-mode", "1777", "an octal mode such as 0660"),
            ("operators", "root", "user ids with commas between them, such as 1001,1002"),
            ("operators", "1,-2", "user ids with commas between them, such as 1001,1002"),
            ("budget", "20", "a duration from 1ms to 10s, such as 20ms"),
            ("budget", "0ms", "a duration from 1ms to 10s, such as 20ms"),
            ("budget", "11s", "a duration from 1ms to 10s, such as 20ms"),
            ("budget", "10001ms", "a duration from 1ms to 10s, such as 20ms"),
            ("budget", "9999999999999999999s", "a duration from 1ms to 10s, such as 20ms"),
            ("key-prefix", "a:b", "1 to 64 letters, digits, '.', '_' or '-'"),
            ("replicas", "0", "a whole number from 1 to 1000"), ("replicas", "1001", "a whole number from 1 to 1000"),
            ("replicas", "two", "a whole number from 1 to 1000"),
            ("http-listen", "9464", "HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"),
            ("http-listen", "127.0.0.1:http", "HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"),
            ("allow-remote", "yes", "true or false"),
            ("log-level", "loud", "trace, debug, info, notice, warning, error or critical"),
            ("log-format", "xml", "text or json"), ("arguments-checked-by-gateway", "1", "true or false"),
        ])
    func aWrongValueIsReportedWithWhatIsExpected(name: String, text: String, expected: String) throws {
        let variable = try #require(Self.variables[name])
        var flags = Self.required
        flags[name] = text
        #expect(faults(flags) == ["--\(name): found \"\(text)\", expected \(expected)"])
        #expect(
            faults(environment: [variable: text])
                == ["\(variable): found \"\(text)\", expected \(expected)"])
    }

    @Test func whatIsMissingIsReported() {
        #expect(
            faults([:]) == [
                "--socket: missing, expected the path of the socket that gateways call, such as "
                    + "/run/sluice/sluice.sock (or SLUICE_SOCKET)",
                "--policy: missing, expected the path of a policy document, such as policy.json (or SLUICE_POLICY, or a "
                    + "folder of documents as --policies)",
            ])
        #expect(faults(["socket": "", "policy": "/p"]).count == 1)
    }

    @Test func allFaultsAreReportedAtOnce() {
        let file = """
            {
              "sokcet": "/s",
              "budget": [],
              "replicas": 0,
              "log-level": "loud"
            }
            """
        let lines = faults([:], environment: ["SLUICE_LOG_FORMAT": "xml"], path: "c.json", files: ["c.json": file])
        for start in [
            "c.json:2:3: /sokcet: ", "c.json:3:13: /budget: ", "--socket: missing", "--policy: missing",
            "c.json:4:15: /replicas: found \"0\", expected a whole number",
            "c.json:5:16: /log-level: found \"loud\", expected trace", "SLUICE_LOG_FORMAT: found \"xml\"",
        ] { #expect(lines.contains { $0.hasPrefix(start) }, "\(start)") }
        #expect(lines.count == 7)
        #expect(lines.contains { $0.hasSuffix("did you mean \"socket\"?") })
    }

    @Test func aFileThatIsNoObjectOfSettingsIsReported() {
        #expect(faults(path: "none") == ["none: cannot be opened: it is not there"])
        for text in ["[]", "{", "{\"socket\": \"/a\", \"socket\": \"/b\"}", ""] {
            #expect(faults(path: "c.json", files: ["c.json": text]).contains { $0.hasPrefix("c.json:") })
        }
    }

    /// The rows of the table of flags of a page, by flag.
    private func listedFlags(_ page: String) throws -> [String: Substring] {
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../\(page)")
        let lines = try String(contentsOf: page, encoding: .utf8).split(whereSeparator: \.isNewline)
        let rows = lines.drop { !$0.hasPrefix("| flag |") }.prefix { $0.hasPrefix("|") }.dropFirst(2)
        var listed: [String: Substring] = [:]
        for row in rows {
            for name in row.split(separator: "|")[0].matches(of: /--([a-z-]+)/) { listed[String(name.output.1)] = row }
        }
        return listed
    }

    /// The table of flags in the server's page has every flag, that of the main page the most needed ones, each with its
    /// default if that is a word that one would write.
    @Test(arguments: ["Sources/SluiceServer/README.md", "README.md"])
    func pagesListTheFlags(_ page: String) throws {
        let listed = try listedFlags(page)
        let flags = Settings.table.rows.filter { $0.help != nil }
        let names = (flags.map(\.name) + ["config"]).sorted()
        if page == "README.md" {
            #expect(listed.count >= 10 && Set(listed.keys).isSubset(of: names))
        } else {
            #expect(listed.keys.sorted() == names)
        }
        for flag in flags where listed[flag.name] != nil {
            guard let text = flag.help?.firstMatch(of: /\(default: (\S+)\)/)?.output.1, text != "none" else {
                continue
            }
            #expect(listed[flag.name]?.contains(text) == true, "\(flag.name): \(text)")
        }
    }
}
